"""Exchanges an ID token for a token of the service, which is valid for an hour at most."""

import base64
import re
from http import HTTPStatus

from ecr_layers.errors import ServiceError
from ecr_layers.registry.addresses import hosts_of
from ecr_layers.registry.api import Api
from ecr_layers.registry.bearer import BearerToken
from ecr_layers.registry.signing import require_privacy
from ecr_layers.transfer.retries import Retries
from ecr_layers.transfer.transport import Transport

USER_NAME = "keyless"
"""The user name of a login whose password is a service's token; the service ignores it."""

# A host that isn't the service may send back what it got.
_SECRET = re.compile(r"[A-Za-z0-9._+/=-]{64,}")


def exchange(url: str, id_token: str, transport: Transport, retries: Retries) -> BearerToken:
    """Exchange an ID token.

    Args:
        url: The service's URL, without a slash at its end.
        id_token: The token, whose audience is the service's host.
        transport: The connections.
        retries: How long to go on trying.

    Raises:
        UsageError: If the URL isn't HTTPS.
        ServiceError: If the service refuses the token, or has no keyless login.
    """
    require_privacy(url)
    host = hosts_of(url)[0]
    basic = base64.b64encode(f"{USER_NAME}:{id_token}".encode()).decode()
    api = Api(url, lambda *_: {"Authorization": f"Basic {basic}"}, transport, retries)
    try:
        return BearerToken.read(api.get("/token", {"service": host}).json())
    except ServiceError as error:
        raise ServiceError(
            _SECRET.sub("…", _advice(host, error)),
            code=error.code,
            status=error.status,
            is_retryable=error.is_retryable,
        ) from None


def _advice(host: str, error: ServiceError) -> str:
    if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        is_unexplained = error.code == "credentials-refused"
        reason = "its claims have to match one of the operator's trustRules." if is_unexplained else str(error)
        return f"{host} refused the ID token: {reason}"
    if error.status == HTTPStatus.NOT_FOUND:
        return f"{host} has no keyless login. The operator has to set trustRules; otherwise use a pull token."
    return str(error)
