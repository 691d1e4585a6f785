"""Gives S3's events on EventBridge the version of the object, as AWS does.

AWS says `version-id` in `detail.object` when the bucket keeps versions;
MiniStack says it in the classic notification only. S3_EVENT_VERSION_ID=false in
MiniStack's environment leaves the event without it, for a test of what happens
then.
"""

import contextvars
import functools
import inspect
import json
import os

NEEDS = {
    "s3._fire_s3_event": "2ab38cfade76",
    "eventbridge._dispatch_event": "d1bfe064f602",
}

_version = contextvars.ContextVar("version of the object whose event is being sent", default=None)


def install():
    if os.environ.get("S3_EVENT_VERSION_ID", "true").lower() in ("false", "0", "no"):
        return
    from ministack.services import eventbridge, s3

    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event
    parameters = inspect.signature(fire)

    @functools.wraps(fire)
    def fire_with_version(*args, **kwargs):
        token = _version.set(parameters.bind(*args, **kwargs).arguments.get("version_id"))
        try:
            return fire(*args, **kwargs)
        finally:
            _version.reset(token)

    @functools.wraps(dispatch)
    def dispatch_with_version(event, *args, **kwargs):
        if _version.get() and event.get("Source") == "aws.s3":
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = _version.get()
            event = {**event, "Detail": json.dumps(detail)}
        return dispatch(event, *args, **kwargs)

    s3._fire_s3_event, eventbridge._dispatch_event = fire_with_version, dispatch_with_version
