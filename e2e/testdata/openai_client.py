"""Gets a completion from a container service with the OpenAI client, signed with
AWS credentials in place of a key. docs/containers.md shows the same.

    openai_client.py CONTAINER MODEL WORDS

The address of the relay's API is in RELAY_API_URL; credentials and region are
where the AWS tools have them. Prints what it got as one JSON object.
"""

import json
import os
import sys

import botocore.session
import httpx2  # what openai 3 is made of; with an older openai it is httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from openai import APIStatusError, OpenAI


class Signed(httpx2.Auth):
    """Signs each request for an HTTP API with the caller's AWS credentials."""

    requires_request_body = True

    def __init__(self):
        self.session = botocore.session.get_session()

    def auth_flow(self, request):
        signed = AWSRequest(request.method, str(request.url), data=request.content)
        signer = SigV4Auth(self.session.get_credentials(), "execute-api", self.session.get_config_variable("region"))
        signer.add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        yield request


def main():
    container, model, words = sys.argv[1:]
    client = OpenAI(
        base_url=f"{os.environ['RELAY_API_URL']}/containers/{container}/v1",
        api_key="unused",  # the signature takes its place
        http_client=httpx2.Client(auth=Signed()),
        max_retries=0,
    )
    told = {"keys": [name for name, value in os.environ.items() if "sk-" in value]}
    try:
        told["models"] = [model.id for model in client.models.list()]
        messages = [{"role": "user", "content": words}]
        whole = client.chat.completions.create(model=model, messages=messages)
        told["content"] = whole.choices[0].message.content
        told["tokens"] = whole.usage.total_tokens
        # The relay answers when all is said: nothing comes word by word, and all of it comes.
        chunks = client.chat.completions.create(model=model, messages=messages, stream=True)
        told["streamed"] = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    except APIStatusError as refused:
        told["status"] = refused.status_code
        told["relay_error"] = refused.response.headers.get("relay-error")
    print(json.dumps(told))


main()
