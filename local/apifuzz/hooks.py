"""What schemathesis needs to know of the relay: how requests are signed, and what
is not to be sent to it. local/apifuzz/run.sh loads it."""

import json

import botocore.session
import requests.auth
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

# The relay waits for 20 s at most; a generated case is not worth that.
MAX_WAIT = 1
# A workflow of the stand-in. Half of the requests for a run ask for it: any other
# name is a 404, which tells nothing of what comes after it.
WORKFLOW = "text-to-image"
# POST to the webhook's route is open: Cyberun cannot sign for AWS.
OPEN_PATH = "/webhooks/"


class SigV4(requests.auth.AuthBase):
    """Signs a request as AWS's own tools do, with the credentials of the environment."""

    def __init__(self):
        session = botocore.session.get_session()
        self.signer = SigV4Auth(session.get_credentials(), "execute-api", session.get_config_variable("region"))

    def __call__(self, request):
        if request.method == "POST" and OPEN_PATH in request.url:
            return request
        to_sign = AWSRequest(request.method, request.url, data=request.body or b"")
        self.signer.add_auth(to_sign)
        request.headers.update(dict(to_sign.headers.items()))
        return request


schemathesis.auth.set_from_requests(SigV4())


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Takes away what the document says of signatures: a third of the cases would
    be sent without one, and the gateway answers those before the relay sees them."""
    raw_schema.pop("security", None)
    raw_schema.get("components", {}).pop("securitySchemes", None)


@schemathesis.check
def reached(ctx, response, case):
    """Every case is signed well enough to get past the gateway. The local one answers
    OPTIONS itself."""
    assert response.request.method == "OPTIONS" or response.status_code != 403, "the gateway refused the signature: the relay never saw this case"


@schemathesis.hook
def map_query(context, query):
    """Bounds ?wait, whatever it is written as."""
    if query and "wait" in query:
        try:
            if float(query["wait"]) > MAX_WAIT:
                query["wait"] = MAX_WAIT
        except (TypeError, ValueError, OverflowError):
            pass
    return query


@schemathesis.hook
def map_body(context, body):
    """Lets about every other request for a workflow name one that there is."""
    if isinstance(body, dict) and isinstance(body.get("workflow"), str) and len(json.dumps(body, default=str)) % 2:
        body["workflow"] = WORKFLOW
        parameters = body.setdefault("parameters", {})
        if isinstance(parameters, dict):
            parameters.setdefault("prompt", "x")
    return body
