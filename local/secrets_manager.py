"""A secret in AWS Secrets Manager, and the actions of its API that read and write it. Signatures are not looked at.

Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
"""

import secrets
import time
import uuid
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SECRETS_MANAGER = "secretsmanager."
"""How the service's actions begin in X-Amz-Target."""


class Secret:
    """The secret with the keys that sign short tokens.

    Attributes:
        arn: Its ARN.
        value: Its value. It has no key yet, as in a new deployment.
        is_readable: Whether it can be read.
    """

    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:SigningKeys-AbCdEf"

    def __init__(self) -> None:
        self.value = '{"keys":[]}'
        self.is_readable = True

    def app(self) -> Starlette:
        """Return the application that is the API."""
        return Starlette(routes=[Route("/", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> Response:
        """Answer a request to the API."""
        parameters = await request.json()
        if not self.is_readable:
            return _error(500, "InternalServiceError")
        if parameters.get("SecretId") != self.arn:
            return _error(400, "ResourceNotFoundException")
        answer: dict[str, Any] = {"ARN": self.arn, "Name": "SigningKeys", "VersionId": str(uuid.uuid4())}
        match request.headers.get("x-amz-target", "").removeprefix(SECRETS_MANAGER):
            case "PutSecretValue":
                self.value = parameters["SecretString"]
            case "GetSecretValue":
                answer |= {"SecretString": self.value, "CreatedDate": time.time()}
            case _:
                return _error(400, "InvalidRequestException")
        return JSONResponse(answer)


def new_signing_keys() -> list[dict[str, Any]]:
    """Return one new key, in the form that the secret and the edge's store have."""
    return [{"id": secrets.token_hex(4), "key": secrets.token_urlsafe(32), "notAfter": None}]


def _error(status: int, name: str) -> Response:
    return JSONResponse({"__type": name, "Message": f"The secret answers {name}."}, status)
