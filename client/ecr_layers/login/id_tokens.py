"""Finds the OIDC ID token that proves what a job is. Its audience is the service's host.

Sources: https://docs.github.com/actions/reference/security/oidc, https://docs.gitlab.com/ci/secrets/id_token_authentication/,
https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken and
https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ecr_layers.errors import ServiceError, UsageError, one_line
from ecr_layers.registry.api import Api
from ecr_layers.registry.signing import callers_credentials, require_privacy
from ecr_layers.transfer.retries import Retries
from ecr_layers.transfer.transport import Transport

PROJECTED_TOKEN = Path("/var/run/secrets/ecr-layers/token")
"""The file of a Kubernetes volume in which a pod's token is expected."""

LONGEST_TOKEN = 8192
"""Longest ID token that the service accepts, in characters."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def find_id_token(host: str, environment: Mapping[str, str], transport: Transport, retries: Retries) -> str:
    """Return the ID token that this job has for a service.

    Args:
        host: The service's host, which is the token's audience.
        environment: The environment variables, which say where the job runs.
        transport: The connections.
        retries: How long to go on trying.

    Raises:
        UsageError: If it has none, or one for another audience.
        ServiceError: If the platform doesn't issue one.
    """
    if environment.get("GITHUB_ACTIONS") or environment.get("ACTIONS_ID_TOKEN_REQUEST_URL"):
        token = _from_github(host, environment, transport, retries)
    elif environment.get("GITLAB_CI"):
        token = read_variable(variable_of(host), environment)
    elif PROJECTED_TOKEN.exists():
        token = read_file(PROJECTED_TOKEN)
    else:
        token = _from_aws(host, environment)
    return checked(token, host)


def variable_of(host: str) -> str:
    """Return the variable of a GitLab job in which a host's token is expected, such as `REGISTRY_EXAMPLE_COM_ID_TOKEN`.

    Other tools derive its name from the audience in the same way: https://github.com/di/id#gitlab
    """
    return f"{re.sub(r'[^A-Z0-9]|^[0-9]', '_', host.upper())}_ID_TOKEN"


def read_variable(name: str, environment: Mapping[str, str]) -> str:
    """Return the token in an environment variable.

    Raises:
        UsageError: If it isn't set.
    """
    if not environment.get(name):
        raise UsageError(
            f"The environment variable {name} isn't set. In a GitLab job, declare it under id_tokens.",
            code="no-id-token",
        )
    return environment[name]


def read_file(path: Path) -> str:
    """Return the token in a file.

    Raises:
        UsageError: If it can't be read.
    """
    try:
        with path.open() as file:
            return file.read(LONGEST_TOKEN + 2)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise UsageError(f"Can't read the ID token from {path}: {reason}.", code="no-id-token") from None


def checked(text: str, host: str) -> str:
    """Return a token without white space around it, if it is for a service and for no other.

    Raises:
        UsageError: If it is malformed, or has another audience: the service could use it there.
    """
    token = text.strip()
    audience = claims_of(token).get("aud")
    if audience not in (host, [host]):
        raise UsageError(
            f"The ID token's audience is {one_line(str(audience))}, not {host}. Request it with the audience {host}.",
            code="wrong-audience",
        )
    return token


def claims_of(token: str) -> dict[str, Any]:
    """Return a token's claims, unverified.

    Raises:
        UsageError: If it isn't a JSON Web Token.
    """
    claims: Any = None
    if _TOKEN.fullmatch(token) and len(token) <= LONGEST_TOKEN:
        payload = token.split(".")[1]
        try:
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (binascii.Error, ValueError, RecursionError):
            claims = None
    if not isinstance(claims, dict):
        raise UsageError(
            f"The ID token isn't a JSON Web Token of at most {LONGEST_TOKEN} characters.", code="invalid-id-token"
        )
    return claims


def _from_github(host: str, environment: Mapping[str, str], transport: Transport, retries: Retries) -> str:
    url, secret = (environment.get(f"ACTIONS_ID_TOKEN_REQUEST_{name}") for name in ("URL", "TOKEN"))
    if not url or not secret:
        raise UsageError(
            "This job can't request an ID token. Add `permissions: {id-token: write}` to it.", code="no-id-token"
        )
    require_privacy(url)
    parts = urlsplit(url)
    api = Api(f"{parts.scheme}://{parts.netloc}", lambda *_: {"Authorization": f"Bearer {secret}"}, transport, retries)
    try:
        answer = api.get(parts.path, {**dict(parse_qsl(parts.query)), "audience": host}).json()
    except ServiceError as error:
        reason = f"it answered HTTP {error.status}. Run the job again." if error.status else str(error)
        raise ServiceError(f"GitHub Actions issued no ID token: {reason}", status=error.status) from None
    return str(answer.get("value"))


def _from_aws(host: str, environment: Mapping[str, str]) -> str:
    """Return a token from AWS STS, for the role of the machine, function or build."""
    try:
        callers_credentials()
    except UsageError as error:
        if error.code not in {"no-credentials", "missing-package"}:
            raise
        raise UsageError(
            f"Found no ID token for {host}: this isn't a job of GitHub Actions or GitLab, and there are neither "
            f"{PROJECTED_TOKEN} nor AWS credentials, which need ecr-layers[aws].",
            code="no-id-token",
        ) from None
    from ecr_layers.ops import aws  # noqa: PLC0415 (it needs botocore)

    client = aws.create_client("sts", environment.get("AWS_REGION") or None)
    with aws.one_line_errors("AWS STS"):
        try:
            answer = client.get_web_identity_token(Audience=[host], SigningAlgorithm="RS256")
        except client.exceptions.OutboundWebIdentityFederationDisabledException:
            raise UsageError(
                "This AWS account issues no ID tokens. Enable them: aws iam enable-outbound-web-identity-federation"
            ) from None
    return str(answer["WebIdentityToken"])
