"""Holds local/ministack/limits to what it says, on a MiniStack of a few lines.

usage: limits.py FOLDER-OF-LIMITS
"""

import json
import os
import sys
import threading
import types

sys.path.insert(0, sys.argv[1])
os.environ["DESCRIBE_EXECUTION_RATE"] = "15"

import limits  # noqa: E402

calls, delivered, slept = [], threading.Event(), []
refusals = 3


def execute(record, event):
    """The function's account is full for the first calls."""
    calls.append(event)
    if len(calls) <= refusals:
        return lambda_svc._throttle_response("ConcurrentInvocationLimitExceeded", "Rate Exceeded")
    delivered.set()
    return {"body": None}


lambda_svc = types.SimpleNamespace(
    _throttle_response=lambda reason, message: {"throttle": True, "error": True, "body": {"message": message}},
    _execute_function_dispatch=lambda body: {"body": body},
    _execute_function_with_config_scope=execute,
    _get_func_record_for_ref=lambda arn: ({"name": arn}, {"name": arn}, arn),
    _execution_record_for_config=lambda function, config: function,
)
stepfunctions = types.SimpleNamespace(
    _describe_execution=lambda data: "described",
    error_response_json=lambda code, message, status: (code, status),
    _execute_task=lambda state: stepfunctions._scaled_sleep(60),
    _scaled_sleep=slept.append,
)
services = types.ModuleType("ministack.services")
services.lambda_svc, services.stepfunctions = lambda_svc, stepfunctions
services.eventbridge = types.SimpleNamespace(_dispatch_to_lambda=None)
sys.modules["ministack"], sys.modules["ministack.services"] = types.ModuleType("ministack"), services
limits.install()

# An answer as large as Lambda takes, as text and as JSON, and one that is larger.
assert limits.MAX_ANSWER == 6_291_556
answer = lambda_svc._execute_function_dispatch
assert answer("x" * limits.MAX_ANSWER)["body"].startswith("xxx")
assert answer({"a": "x" * (limits.MAX_ANSWER - len('{"a": ""}'))}).get("error") is None
assert answer({"a": "x" * limits.MAX_ANSWER})["body"]["errorType"] == "Function.ResponseSizeTooLarge"

# A throttle has the name that state machines retry.
assert lambda_svc._throttle_response("r", "m")["body"]["errorType"] == "Lambda.TooManyRequestsException"

# An event comes again until it is taken, later each time.
slept.clear()
services.eventbridge._dispatch_to_lambda("arn", json.dumps({"id": 1}))
assert delivered.wait(10) and calls == [{"id": 1}] * (refusals + 1), calls
assert len(slept) == refusals and all(2 ** i / 2 <= s <= 2 ** i for i, s in enumerate(slept)), slept

# Retries with full jitter wait any part of their delay, others all of it.
slept.clear()
for _ in range(50):
    stepfunctions._execute_task({"Retry": [{"JitterStrategy": "FULL"}]})
assert max(slept) <= 60 and len(set(slept)) > 40, slept
slept.clear()
stepfunctions._execute_task({"Retry": [{}]})
stepfunctions._execute_task({})
assert slept == [60, 60], slept

# 300 at once, then 15 a second.
assert [stepfunctions._describe_execution({}) for _ in range(300)] == ["described"] * 300
assert stepfunctions._describe_execution({}) == ("ThrottlingException", 400)
now = [0.0]
bucket = limits.Bucket(15, lambda: now[0])
assert all(bucket.take() for _ in range(300)) and not bucket.take()
now[0] = 1.01
assert [bucket.take() for _ in range(16)] == [True] * 15 + [False]
now[0] = 1000
assert sum(bucket.take() for _ in range(400)) == 300
