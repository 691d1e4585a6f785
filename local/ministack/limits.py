"""Answers at the limits that Lambda and Step Functions have in a small account.

- A Lambda answer above 6 MB is an error, as on AWS, whatever the function.
- A state whose Lambda call was throttled fails as Lambda.TooManyRequestsException,
  which is the name that AWS gives it; MiniStack says Lambda.Unknown. How many
  calls may run at once is MiniStack's own LAMBDA_ACCOUNT_CONCURRENCY: 10 in a
  new account.
- DESCRIBE_EXECUTION_RATE calls of DescribeExecution a second, twenty times that
  at once, as AWS deals them out (15 and 300 in the largest regions); without it
  there is no bound. The call beyond is a ThrottlingException.

AWS calls an event-driven function that was throttled again for six hours;
MiniStack drops the call. Start executions where that matters.
"""

import functools
import json
import os
import threading
import time

NEEDS = {
    "lambda_svc._throttle_response": "647221d5b077",
    "lambda_svc._execute_function_dispatch": "f62cd259213e",
    "stepfunctions._describe_execution": "c3ad294ad8b5",
}

# What Lambda takes of a synchronous call's answer: 6 MB and some room for its frame.
MAX_ANSWER = 6_291_556

# AWS's buckets hold what twenty seconds fill.
BURST_SECONDS = 20


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
    from ministack.services import lambda_svc, stepfunctions

    throttle, dispatch, describe = lambda_svc._throttle_response, lambda_svc._execute_function_dispatch, stepfunctions._describe_execution

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
    rate = float(os.environ.get("DESCRIBE_EXECUTION_RATE") or 0)
    if rate <= 0:
        return
    bucket = Bucket(rate)

    @functools.wraps(describe)
    def bounded_describe(*args, **kwargs):
        if bucket.take():
            return describe(*args, **kwargs)
        return stepfunctions.error_response_json("ThrottlingException", "Rate exceeded", 400)

    stepfunctions._describe_execution = bounded_describe
