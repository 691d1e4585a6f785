"""Gives MiniStack's Step Functions the life of an execution that AWS gives it.

What it adds:

- RedriveExecution. A FAILED, ABORTED or TIMED_OUT execution goes on at the state
  that it was in, with that state's input, under the same ARN, start date and
  definition; its retries and its time-out begin anew. Any other one is
  ExecutionNotRedrivable. A client token that was used within 15 minutes is
  answered again. The history goes on behind ExecutionRedriven.
- `$$.Execution.RedriveCount` and `RedriveTime` in the context object;
  redriveCount, redriveDate, redriveStatus and redriveStatusReason in
  DescribeExecution, ListExecutions (the first two) and the status events.
- TimeoutSeconds of a whole state machine: TIMED_OUT, with its event. These are
  whole seconds whatever SFN_WAIT_SCALE says: MiniStack scales no time-out.
- A stop that holds. MiniStack lets a step that fails after StopExecution turn
  ABORTED into FAILED, and its retries go on; here the first end of a life stands,
  and nothing of that life runs on, also when the next life runs already.
- ListExecutions with redriveFilter, and with a redriven execution that runs
  sorted by its redriveDate, as AWS documents it: running executions by start or
  redrive, ended ones by stop, newest first.

A life is (execution, redrive count), and each has a thread of its own. A thread
whose life is over ends where it would next write to the history, which every
attempt of a task does before and after its call. What it has already begun on the
outside, a function's call say, is not undone; it is not on AWS either.

Where AWS differs from this:

- A redriven Parallel or Map state begins anew as a whole; AWS runs only the
  branches and items that did not succeed. Map runs are not redriven, and their
  children are left as they are when the parent ends.
- A redriven Wait state waits its whole time again.
- The history names the state's entry again behind ExecutionRedriven; AWS, as far
  as its documentation shows, goes on with the task's scheduling.
- The 14 days within which AWS redrives, its limit of 25,000 history events (only
  the redrive is refused then, from 24,999 on), its limit of open executions and
  eventual consistency are not there: DescribeExecution and ListExecutions are
  always right, which on AWS they are not.
- Status events come in order and each exactly once. AWS sends them with best
  effort, in any order, perhaps twice.
- The status event of a stopped execution carries the error and cause that
  StopExecution was given, as DescribeExecution does; AWS's samples show none.
- The task token of an ended life is TaskDoesNotExist; on AWS it is TaskTimedOut.
- DescribeStateMachineForExecution tells the definition of today, not the one
  that the execution began with.
- An execution is a record in memory: none outlives MiniStack.

The walk below follows MiniStack's own (Copyright (c) 2026 MiniStack
Contributors, MIT License).
"""

import contextvars
import copy
import functools
import json
import logging
import threading
import time

NEEDS = {
    # wrapped or replaced
    "stepfunctions._run_execution": "996dff84e0e0",
    "stepfunctions._start_execution": "9923282fc76c",
    "stepfunctions._stop_execution": "44d2d84ccd5c",
    "stepfunctions._describe_execution": "c3ad294ad8b5",
    "stepfunctions._list_executions": "741208b30077",
    "stepfunctions._execute_task": "53c818d247db",
    "stepfunctions._with_retry_and_catch": "b351699db7b3",
    "stepfunctions._run_sub_machine": "f8d844168b14",
    "stepfunctions._invoke_with_callback": "bbb38423156a",
    "stepfunctions._add_event": "b1db143ccd21",
    "stepfunctions._emit_execution_status_event": "9c89e45693e3",
    "stepfunctions.handle_request": "efa6e8c4532a",
    "eventbridge._put_events": "ebcda0f38061",
    # called
    "stepfunctions._execute_pass": "(state_def, raw_input, ctx)",
    "stepfunctions._execute_choice": "(state_def, raw_input, ctx)",
    "stepfunctions._execute_wait": "(state_def, raw_input, ctx)",
    "stepfunctions._execute_parallel": "(state_def, raw_input, execution, ctx)",
    "stepfunctions._execute_map": "(state_def, raw_input, execution, ctx)",
    "stepfunctions._fail_state_error": "(state_def, raw_input, ctx)",
    "stepfunctions._apply_input_path": "(state_def, data, ctx)",
    "stepfunctions._apply_output_path": "(state_def, data, ctx)",
    "stepfunctions._encode_execution_token": "(execution)",
    "stepfunctions._decode_execution_token": "(token)",
    "stepfunctions._finalize_response": "(response)",
    "stepfunctions.error_response_json": "",
    "stepfunctions.json_response": "",
    "stepfunctions._iso_to_epoch_ms": "(iso)",
    "stepfunctions.now_iso": "()",
    "stepfunctions._ExecutionError": "",
    "stepfunctions._executions": "",
    "stepfunctions._state_machines": "",
    "stepfunctions._task_tokens": "",
}

logger = logging.getLogger("states.lives")

START_DELAY = 0.15  # MiniStack's own, in which a caller gets its answer
MAX_EVENTS = 24_999  # AWS redrives below this
TOKENS_KEPT, TOKEN_SECONDS = 10, 15 * 60
PAGE, MAX_PAGE = 100, 1000

# Every change of a status is made, told and seen under this lock, so that an end
# stands, and events are sent in the order of what they tell. Nothing that waits
# for a function or a timer may be called under it.
_changes = threading.RLock()
_lives = {}  # execution ARN → its current Life
_current = contextvars.ContextVar("life that this thread works for", default=None)


class _Over(BaseException):
    """Ends what works for a life that is over.

    No `except Exception` of MiniStack's takes it for a failure of a state.
    """


class Life:
    def __init__(self, execution):
        self.execution = execution
        self.count = execution.get("redriveCount", 0)
        self.tokens = set()
        self.timer = None

    def over(self):
        return self.execution["status"] != "RUNNING" or self.execution.get("redriveCount", 0) != self.count

    def check(self):
        if self.over():
            raise _Over

    def end_waits(self, sf):
        """Wakes what waits for a task token; the token is no longer known."""
        if self.timer:
            self.timer.cancel()
        for token in self.tokens:
            waiting = sf._task_tokens.pop(token, None)
            if waiting:
                waiting["event"].set()


def redrivable(execution):
    """redriveStatus, and the reason if it is not REDRIVABLE."""
    if execution["status"] in ("RUNNING", "SUCCEEDED"):
        return "NOT_REDRIVABLE", f"Execution is {execution['status']} and cannot be redriven"
    if execution.get("mapRunArn"):
        return "REDRIVABLE_BY_MAP_RUN", None
    if len(execution["events"]) >= MAX_EVENTS:
        return "NOT_REDRIVABLE", "Execution history event limit exceeded"
    return "REDRIVABLE", None


def redrive_fields(execution):
    status, reason = redrivable(execution)
    return {"redriveCount": execution.get("redriveCount", 0), "redriveDate": execution.get("redriveDate"),
            "redriveStatus": status, "redriveStatusReason": reason}


def install():
    from ministack.services import eventbridge
    from ministack.services import stepfunctions as sf

    def wrap(name, wrapper):
        original = getattr(sf, name)
        setattr(sf, name, functools.wraps(original)(functools.partial(wrapper, original)))

    # ---- a life, from its first state to its end

    def run(exec_arn):
        """Replaces _run_execution: the first life."""
        execution = sf._executions.get(exec_arn)
        if execution:
            begin(Life(execution))

    def begin(life):
        contextvars.copy_context().run(live, life)

    def live(life):
        _current.set(life)
        execution = life.execution
        time.sleep(START_DELAY)
        try:
            with _changes:
                life.check()
                _lives[execution["executionArn"]] = life
                definition = pinned(execution)
                start_timer(life, definition.get("TimeoutSeconds"))
            output = json.dumps(walk(life, definition))
            with _changes:
                life.check()
                end(life, "SUCCEEDED", {"output": output}, output=output)
        except _Over:
            pass
        except sf._ExecutionError as error:
            fail(life, error.error, error.cause)
        except Exception as error:
            logger.exception("execution %s", execution["executionArn"])
            fail(life, "States.Runtime", str(error))

    def pinned(execution):
        """The definition that the execution began with holds for all its lives."""
        if "definition" not in execution:
            machine = sf._state_machines.get(execution["stateMachineArn"])
            if not machine:
                raise sf._ExecutionError("StateMachineDeleted", "State machine no longer exists")
            execution["definition"] = machine["definition"]
        try:
            definition = json.loads(execution["definition"])
        except ValueError:
            raise sf._ExecutionError("InvalidDefinition", "Could not parse state machine definition") from None
        if definition.get("StartAt") not in definition.get("States", {}):
            raise sf._ExecutionError("InvalidDefinition", f"StartAt state {definition.get('StartAt')!r} not found")
        return definition

    def start_timer(life, seconds):
        if seconds:
            life.timer = threading.Timer(seconds, contextvars.copy_context().run, [time_out, life])
            life.timer.daemon = True
            life.timer.start()

    def time_out(life):
        with _changes:
            if not life.over():
                end(life, "TIMED_OUT", {})

    def fail(life, error, cause):
        with _changes:
            if not life.over():
                # MiniStack keeps the error in the output too, and reads it there for a nested execution.
                end(life, "FAILED", {"error": error, "cause": cause}, error=error, cause=cause,
                    output=json.dumps({"Error": error, "Cause": cause}))

    def end(life, status, details, **fields):
        execution, name = life.execution, status.title().replace("_", "")
        sf._add_event(execution, f"Execution{name}", {f"execution{name}EventDetails": details})
        execution.update(fields, status=status, stopDate=sf.now_iso())
        life.end_waits(sf)
        sf._emit_execution_status_event(execution)

    def context(life, definition, whole_input):
        execution = life.execution
        ctx = {
            "QueryLanguage": definition.get("QueryLanguage", "JSONPath"),
            "Execution": {"Id": execution["executionArn"], "Input": whole_input, "Name": execution["name"],
                          "StartTime": execution["startDate"], "RedriveCount": life.count},
            "StateMachine": {"Id": execution["stateMachineArn"], "Name": execution["stateMachineArn"].split(":")[6]},
            "variables": {},
        }
        if life.count:
            ctx["Execution"]["RedriveTime"] = execution["redriveDate"]
        return ctx

    def walk(life, definition):
        """Walks from where the last life ended, or from the start, to an end."""
        execution, states = life.execution, definition["States"]
        try:
            whole_input = json.loads(execution["input"])
        except ValueError:
            whole_input = {}
        ctx = context(life, definition, whole_input)
        name, data = definition["StartAt"], copy.deepcopy(whole_input)
        if "at" in execution:
            name, data, ctx["variables"] = json.loads(execution["at"])
        while name:
            state = states.get(name)
            if state is None:
                raise sf._ExecutionError("States.Runtime", f"State {name!r} not found in definition")
            kind = state.get("Type")
            ctx["State"] = {"Name": name, "EnteredTime": sf.now_iso(), "RetryCount": 0}
            sf._add_event(execution, f"{kind}StateEntered",
                          {"stateEnteredEventDetails": {"name": name, "input": json.dumps(data)}})
            left, (data, name) = name, step(kind, state, data, execution, ctx)
            with _changes:
                sf._add_event(execution, f"{kind}StateExited",
                              {"stateExitedEventDetails": {"name": left, "output": json.dumps(data)}})
                execution["at"] = json.dumps([name, data, ctx["variables"]])
        return data

    def step(kind, state, data, execution, ctx):
        """One state: its output, and the next state's name."""
        if kind == "Fail":
            raise sf._ExecutionError(*sf._fail_state_error(state, data, ctx))
        if kind == "Succeed":
            return sf._apply_output_path(state, sf._apply_input_path(state, data, ctx), ctx), None
        if kind in ("Pass", "Choice", "Wait"):
            return getattr(sf, f"_execute_{kind.lower()}")(state, data, ctx)
        if kind in ("Task", "Parallel", "Map"):
            return getattr(sf, f"_execute_{kind.lower()}")(state, data, execution, ctx)
        raise sf._ExecutionError("States.Runtime", f"Unknown state type: {kind}")

    # ---- where the thread of an ended life ends

    def add_event(execution, event_type, details=None):
        with _changes:
            if life := _current.get():
                life.check()
            return plain_add_event(execution, event_type, details)

    def invoke_with_callback(original, resource, data, token, state):
        life = _current.get()
        if life:
            with _changes:
                life.check()
                life.tokens.add(token)
        return original(resource, data, token, state)

    # ---- what callers ask for

    def redrive(data):
        arn, token = data.get("executionArn"), data.get("clientToken")
        with _changes:
            execution = sf._executions.get(arn)
            if not execution:
                return sf.error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
            tokens = execution.setdefault("redriveTokens", {})
            used, date = tokens.get(token, (0, None))
            if date and time.time() - used < TOKEN_SECONDS:
                return sf.json_response({"redriveDate": date})
            status, reason = redrivable(execution)
            if status != "REDRIVABLE":
                return sf.error_response_json("ExecutionNotRedrivable",
                                              reason or "Only its Map Run can redrive this execution", 400)
            date = sf.now_iso()
            execution.update(status="RUNNING", stopDate=None, output=None, error=None, cause=None,
                             redriveCount=execution.get("redriveCount", 0) + 1, redriveDate=date)
            sf._add_event(execution, "ExecutionRedriven",
                          {"executionRedrivenEventDetails": {"redriveCount": execution["redriveCount"]}})
            if token:
                tokens[token] = (time.time(), date)
                while len(tokens) > TOKENS_KEPT:
                    del tokens[next(iter(tokens))]
            life = Life(execution)
            sf._emit_execution_status_event(execution)
        threading.Thread(target=contextvars.copy_context().run, args=(begin, life), daemon=True).start()
        return sf.json_response({"redriveDate": date})

    def stop(original, data):
        with _changes:
            answer = original(data)
            arn = data.get("executionArn")
            life = _lives.get(arn)
            if life and life.over():
                life.end_waits(sf)
            return answer

    def describe(original, data):
        with _changes:
            status, headers, body = original(data)
            if status != 200:
                return status, headers, body
            fields = redrive_fields(sf._executions.get(data["executionArn"]))
        known = {name: value for name, value in fields.items() if value is not None}
        return sf.json_response({**json.loads(body), **known})

    def list_executions(original, data):
        wanted, cursor = data.get("redriveFilter"), None
        if wanted not in (None, "REDRIVEN", "NOT_REDRIVEN"):
            return sf.error_response_json("ValidationException", f"redriveFilter cannot be {wanted!r}", 400)
        if data.get("nextToken"):
            cursor = sf._decode_execution_token(data["nextToken"])
            if cursor is None:
                return sf.error_response_json("InvalidToken", "Invalid Token: 'Invalid token'", 400)
        size = int(data.get("maxResults") or PAGE)
        if not 0 < size <= MAX_PAGE:
            return sf.error_response_json("ValidationException", f"maxResults must be between 0 and {MAX_PAGE}", 400)
        with _changes:
            everything = {**data, "maxResults": len(sf._executions.keys()) + 1}
            everything.pop("nextToken", None)
            status, headers, body = original(everything)
            if status != 200:
                return status, headers, body
            found = []
            for item in json.loads(body)["executions"]:
                execution = sf._executions.get(item["executionArn"])
                item["redriveCount"] = execution.get("redriveCount", 0)
                if execution.get("redriveDate"):
                    item["redriveDate"] = execution["redriveDate"]
                if item["stopDate"] is None:
                    del item["stopDate"]
                if wanted is None or (wanted == "REDRIVEN") == (item["redriveCount"] > 0):
                    found.append(item)

        def position(item):
            return item.get("stopDate") or item.get("redriveDate") or item["startDate"], item["executionArn"]

        found.sort(key=position, reverse=True)
        if cursor:
            found = [item for item in found if position(item) < cursor]
        answer = {"executions": found[:size]}
        if len(found) > size:
            moment, arn = position(found[size - 1])
            answer["nextToken"] = sf._encode_execution_token({"stopDate": moment, "executionArn": arn})
        return sf.json_response(answer)

    async def handle_request(original, method, path, headers, body, query_params):
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return sf._finalize_response(redrive(json.loads(body)))
        return await original(method, path, headers, body, query_params)

    # ---- status events

    def put_events(original, data, allow_aws_source=False):
        if allow_aws_source:
            for entry in data.get("Entries", []):
                if entry.get("Source") == "aws.states":
                    tell_redrives(entry)
        return original(data, allow_aws_source=allow_aws_source)

    def tell_redrives(entry):
        detail = json.loads(entry["Detail"])
        execution = sf._executions.get(detail["executionArn"])
        if not execution:
            return
        detail.update(redrive_fields(execution), error=execution.get("error"), cause=execution.get("cause"),
                      redriveDate=sf._iso_to_epoch_ms(execution.get("redriveDate")))
        entry["Detail"] = json.dumps(detail)

    def excepthook(failure):
        if failure.exc_type is not _Over:  # a branch's thread: its end is no fault
            plain_excepthook(failure)

    plain_add_event, plain_excepthook = sf._add_event, threading.excepthook
    threading.excepthook = excepthook
    sf._run_execution, sf._add_event = run, add_event
    wrap("_invoke_with_callback", invoke_with_callback)
    wrap("_stop_execution", stop)
    wrap("_describe_execution", describe)
    wrap("_list_executions", list_executions)
    wrap("handle_request", handle_request)
    eventbridge._put_events = functools.partial(put_events, eventbridge._put_events)
