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

_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:SigningKeys-AbCdEf"

SECRETS_MANAGER = "secretsmanager."
"""How the service's actions begin in X-Amz-Target."""


class Secret:
    """The secret with the keys that sign short tokens.

    Attributes:
        arn: Its ARN.
        value: Its value. It has no key yet, as in a new deployment.
        is_readable: Whether it can be read.
    """

    arn = _ARN

    def __init__(self) -> None:
        self.value = '{"keys":[]}'
        self.is_readable = True
        self._created, self._version = time.time(), str(uuid.uuid4())

    def app(self) -> Starlette:
        """Return the application that is the API."""
        return Starlette(routes=[Route("/", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> Response:
        """Answer a request to the API."""
        action, parameters = request.headers.get("x-amz-target", "").removeprefix(SECRETS_MANAGER), await request.json()
        if not self.is_readable:
            return _error(500, "InternalServiceError")
        if parameters.get("SecretId") != self.arn:
            return _error(400, "ResourceNotFoundException")
        if action == "PutSecretValue":
            self.value, self._version = parameters["SecretString"], str(uuid.uuid4())
        elif action != "GetSecretValue":
            return _error(400, "InvalidRequestException")
        answer: dict[str, Any] = {
            "ARN": self.arn,
            "Name": self.arn.rpartition(":")[2],
            "VersionId": self._version,
            "VersionStages": ["AWSCURRENT"],
        }
        if action == "GetSecretValue":
            answer |= {"SecretString": self.value, "CreatedDate": self._created}
        return JSONResponse(answer)


def new_signing_keys() -> list[dict[str, Any]]:
    """Return one new key, in the form that the secret and the edge's store have."""
    return [{"id": secrets.token_hex(4), "key": secrets.token_urlsafe(32), "notAfter": None}]


def _error(status: int, name: str) -> Response:
    return JSONResponse({"__type": name, "Message": f"The secret answers {name}."}, status)
