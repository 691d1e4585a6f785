"""Answers at the limits that Lambda and Step Functions have in a small account.

Always:

- A Lambda answer above 6 MB is an error, as on AWS, whatever the function.
- A state whose Lambda call was throttled fails as Lambda.TooManyRequestsException,
  which is the name that AWS gives it; MiniStack says Lambda.Unknown. How many
  calls may run at once is MiniStack's own LAMBDA_ACCOUNT_CONCURRENCY: 10 in a
  new account.
- An event for a function that is throttled waits and comes again, for six hours,
  as in the queue of Lambda's asynchronous calls; MiniStack drops it. The waits
  are scaled by SFN_WAIT_SCALE, as those of a state machine's retries are.

With DESCRIBE_EXECUTION_RATE in the environment, which says so many a second:

- DescribeExecution has AWS's bucket: that rate, and twenty times as many at once
  (15 and 300 in the largest regions). The call beyond is a ThrottlingException.
- Retries whose JitterStrategy is FULL wait a random part of their delay. MiniStack
  ignores it, so that a thousand runs which were throttled together would all come
  again together, which on AWS they do not.

Where AWS differs: a throttled function behind an HTTP API is the gateway's own
5xx there, and a 429 here. Nothing bounds how fast the account's concurrency grows.
"""

import contextvars
import functools
import json
import os
import random
import threading
import time

NEEDS = {
    "eventbridge._dispatch_to_lambda": "1f95adbaed3a",
    "lambda_svc._execute_function_dispatch": "f62cd259213e",
    "lambda_svc._execute_function_with_config_scope": "26a9d5f64e17",
    "lambda_svc._execution_record_for_config": "(func, config)",
    "lambda_svc._get_func_record_for_ref": "(function_ref)",
    "lambda_svc._throttle_response": "647221d5b077",
    "stepfunctions._describe_execution": "c3ad294ad8b5",
    "stepfunctions._execute_task": "53c818d247db",
    "stepfunctions._scaled_sleep": "5ed19df2efa9",
}

# What Lambda takes of a synchronous call's answer: 6 MB and some room for its frame.
MAX_ANSWER = 6_291_556

# AWS's buckets hold what twenty seconds fill.
BURST_SECONDS = 20

# Lambda keeps an event six hours, and tries it again after 1 s, doubling to 5 min.
EVENT_SECONDS = 6 * 3600
FIRST_PAUSE, LONGEST_PAUSE = 1, 300


class Bucket:
    """A token bucket: so many calls a second, and those of BURST_SECONDS at once."""

    def __init__(self, rate, now=time.monotonic):
        self.rate, self.now, self.lock = rate, now, threading.Lock()
        self.tokens, self.at = rate * BURST_SECONDS, now()

    def take(self):
        with self.lock:
            now = self.now()
            self.tokens = min(self.rate * BURST_SECONDS, self.tokens + (now - self.at) * self.rate)
            self.at = now
            if self.tokens < 1:
                return False
            self.tokens -= 1
            return True


def install():
    bound_answers()
    queue_events()
    rate = float(os.environ.get("DESCRIBE_EXECUTION_RATE") or 0)
    if rate > 0:
        bound_describes(Bucket(rate))
        spread_retries()


def bound_answers():
    from ministack.services import lambda_svc

    throttle, dispatch = lambda_svc._throttle_response, lambda_svc._execute_function_dispatch

    @functools.wraps(throttle)
    def named_throttle(*args, **kwargs):
        result = throttle(*args, **kwargs)
        result["body"]["errorType"] = "Lambda.TooManyRequestsException"
        return result

    @functools.wraps(dispatch)
    def bounded_dispatch(*args, **kwargs):
        result = dispatch(*args, **kwargs)
        body = result.get("body") if isinstance(result, dict) else None
        size = len(body) if isinstance(body, (str, bytes)) else len(json.dumps(body)) if body is not None else 0
        if size <= MAX_ANSWER:
            return result
        return {**result, "error": True, "body": {
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": f"Response payload size exceeded maximum allowed payload size ({MAX_ANSWER} bytes).",
        }}

    lambda_svc._throttle_response, lambda_svc._execute_function_dispatch = named_throttle, bounded_dispatch


def queue_events():
    from ministack.services import eventbridge, lambda_svc, stepfunctions

    deliver = eventbridge._dispatch_to_lambda

    @functools.wraps(deliver)
    def queued(arn, payload):
        function, config, _ = lambda_svc._get_func_record_for_ref(arn)
        if not function or not config:
            deliver(arn, payload)  # which says so
            return
        record, event = lambda_svc._execution_record_for_config(function, config), json.loads(payload)

        def until_taken():
            pause, until = FIRST_PAUSE, time.monotonic() + EVENT_SECONDS
            while lambda_svc._execute_function_with_config_scope(record, event).get("throttle") and time.monotonic() < until:
                stepfunctions._scaled_sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, LONGEST_PAUSE)

        threading.Thread(target=until_taken, daemon=True).start()

    eventbridge._dispatch_to_lambda = queued


def bound_describes(bucket):
    from ministack.services import stepfunctions

    describe = stepfunctions._describe_execution

    @functools.wraps(describe)
    def bounded_describe(*args, **kwargs):
        if bucket.take():
            return describe(*args, **kwargs)
        return stepfunctions.error_response_json("ThrottlingException", "Rate exceeded", 400)

    stepfunctions._describe_execution = bounded_describe


def spread_retries():
    from ministack.services import stepfunctions

    task, sleep = stepfunctions._execute_task, stepfunctions._scaled_sleep
    jitter = contextvars.ContextVar("whether the retries of the state that runs are jittered", default=False)

    @functools.wraps(task)
    def jittered_task(state, *args, **kwargs):
        token = jitter.set(any(r.get("JitterStrategy") == "FULL" for r in state.get("Retry", [])))
        try:
            return task(state, *args, **kwargs)
        finally:
            jitter.reset(token)

    @functools.wraps(sleep)
    def spread_sleep(seconds):
        sleep(random.uniform(0, seconds) if jitter.get() else seconds)

    stepfunctions._execute_task, stepfunctions._scaled_sleep = jittered_task, spread_sleep
