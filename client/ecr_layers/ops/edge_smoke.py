"""Checks a service behind CloudFront from outside, with a pull token and nothing of AWS.

Downloads one byte of a blob. Prints neither the token nor a download URL.
"""

import hashlib
import secrets
from collections.abc import Callable
from functools import cached_property
from typing import Any

import httpx

from ecr_layers.errors import ServiceError
from ecr_layers.oci.manifests import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES
from ecr_layers.ops.http_auth import PullTokenAuth
from ecr_layers.ops.smoke import WELL, Finding, Layer, SmokeError, SmokeTest
from ecr_layers.registry.bearer import token_path

# Of the issuer https://smoke.invalid, which nobody can trust.
_FORGED_ID_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL3Ntb2tlLmludmFsaWQifQ.c2ln"  # noqa: S105
_NO_TRUST_RULES = Finding("skip", "the service has no trustRules")
_ACCEPT = {"Accept": ", ".join((*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES))}


def find_layer(url: str, client: httpx.Client, auth: httpx.Auth, repository: str, image: str | None = None) -> Layer:
    """Return a layer of an image that the service gives the manifest of.

    Args:
        url: The service's URL, without a slash at its end.
        client: Sends the requests.
        auth: The pull token.
        repository: The repository.
        image: Tag or digest of the image; without it, that of the first tag that is listed, or `latest`.

    Raises:
        SmokeError: If the service does not give one.
    """
    try:
        image = image or _first_tag(client.get(f"{url}/v2/{repository}/tags/list", params={"n": 1}, auth=auth))
        manifest = _manifest(url, client, auth, f"{repository}/manifests/{image}")
        if "manifests" in manifest:
            manifest = _manifest(url, client, auth, f"{repository}/manifests/{manifest['manifests'][0]['digest']}")
        return Layer(repository, [manifest["config"], *manifest["layers"]][-1]["digest"], image)
    except httpx.TransportError as error:
        raise SmokeError(f"{url} can't be reached: {type(error).__name__}.") from None
    except (ValueError, KeyError, TypeError, IndexError, httpx.HTTPStatusError) as error:
        status = f" It answered {error.response.status_code}." if isinstance(error, httpx.HTTPStatusError) else ""
        raise SmokeError(f"{url} has no manifest of {repository}:{image or 'latest'}.{status}") from None


def _first_tag(answer: httpx.Response) -> str:
    return str(answer.json()["tags"][0]) if answer.is_success else "latest"


def _manifest(url: str, client: httpx.Client, auth: httpx.Auth, path: str) -> dict[str, Any]:
    manifest: dict[str, Any] = client.get(f"{url}/v2/{path}", auth=auth, headers=_ACCEPT).raise_for_status().json()
    return manifest


class EdgeSmokeTest(SmokeTest):
    """The checks of one service behind CloudFront.

    Args:
        url: Its URL.
        layer: A layer that it should be able to resolve, in a repository that the token is for.
        client: Sends the requests.
        auth: The pull token.
    """

    def __init__(self, url: str, layer: Layer, client: httpx.Client, auth: PullTokenAuth) -> None:
        super().__init__(url, layer, client, auth, is_public=False)
        self._token_name = auth.name

    def checks(self) -> list[tuple[str, Callable[[], Finding]]]:
        """Return the checks, each with its name."""
        return [
            ("the challenge", self._challenge),
            ("log-in", self._log_in),
            ("a wrong password", self._wrong_password),
            ("a blob through the redirect", self._blob),
            ("HEAD of a blob", self._head_of_blob),
            ("HEAD of a manifest", self._head_of_manifest),
            ("an error's form", self._error),
            ("scope", self._scope),
            ("POST", self._post),
            ("a short token", self._short_token),
            ("a forged ID token", self._forged_id_token),
        ]

    def _challenge(self) -> Finding:
        answer = self._client.get(f"{self._url}/v2/", auth=None)
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return Finding("FAIL", f"without a token it answered {answer.status_code} and not 401")
        challenge = answer.headers.get("WWW-Authenticate", "")
        try:
            is_known = challenge.startswith('Basic realm="') or token_path(self._url, challenge) is not None
        except ServiceError as error:
            return Finding("FAIL", str(error))
        if not is_known:
            return Finding(
                "FAIL", f"WWW-Authenticate is {challenge or None} and not Basic or Bearer: no client can log in"
            )
        return _with_code(answer, "UNAUTHORIZED")

    def _log_in(self) -> Finding:
        answer = self._get("/v2/")
        if answer.status_code == httpx.codes.OK:
            return WELL
        return Finding("FAIL", f"answered {answer.status_code} and not 200{_message(answer)}")

    def _wrong_password(self) -> Finding:
        answer = self._client.get(f"{self._url}/v2/", auth=(self._token_name, secrets.token_hex(32)))
        return WELL if answer.status_code == httpx.codes.UNAUTHORIZED else _let_in(answer, 401)

    def _blob(self) -> Finding:
        answer = self._get(f"/v2/{self._layer.repository}/blobs/{self._layer.digest}")
        if answer.status_code != httpx.codes.TEMPORARY_REDIRECT:
            return Finding("FAIL", f"answered {answer.status_code} and not 307{_message(answer)}")
        location = httpx.URL(answer.headers["Location"])
        # With edgeLayers, the same host serves layers from another path.
        if location.host == httpx.URL(self._url).host and not location.path.startswith("/layers/"):
            return Finding("FAIL", "the redirect leads to the service itself, and not to S3")
        first_byte = self._client.get(answer.headers["Location"], headers={"Range": "bytes=0-0"}, auth=None)
        if first_byte.status_code != httpx.codes.PARTIAL_CONTENT or len(first_byte.content) != 1:
            return Finding("FAIL", f"S3 answered the request for its first byte with {first_byte.status_code}")
        return WELL

    def _scope(self) -> Finding:
        repository = f"ecr-layers-smoke/{secrets.token_hex(8)}"
        digest = f"sha256:{hashlib.sha256(repository.encode()).hexdigest()}"
        answer = self._get(f"/v2/{repository}/blobs/{digest}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return Finding("skip", "the token is for every repository, so there is none to refuse it")
        return _with_code(answer, "DENIED") if answer.status_code == httpx.codes.FORBIDDEN else _let_in(answer, 403)

    def _post(self) -> Finding:
        answer = self._client.post(f"{self._url}/v2/{self._layer.repository}/blobs/uploads/", auth=self._auth)
        return WELL if answer.status_code == httpx.codes.METHOD_NOT_ALLOWED else _let_in(answer, 405)

    def _short_token(self) -> Finding:
        if not self._has_token_service:
            return _NO_TRUST_RULES
        answer = self._get("/token")
        if answer.status_code != httpx.codes.OK:
            return Finding("FAIL", f"answered {answer.status_code} and not 200{_message(answer)}")
        token = answer.json()["token"]
        let_in = self._client.get(f"{self._url}/v2/", headers={"Authorization": f"Bearer {token}"}, auth=None)
        return WELL if let_in.status_code == httpx.codes.OK else _let_in(let_in, 200)

    def _forged_id_token(self) -> Finding:
        """Check that the exchange function gets an ID token through CloudFront, and refuses it."""
        if not self._has_token_service:
            return _NO_TRUST_RULES
        answer = self._client.get(f"{self._url}/token", auth=("oidc", _FORGED_ID_TOKEN))
        return _with_code(answer, "UNAUTHORIZED") if answer.status_code == 401 else _let_in(answer, 401)

    @cached_property
    def _has_token_service(self) -> bool:
        challenge: str = self._client.get(f"{self._url}/v2/", auth=None).headers.get("WWW-Authenticate", "")
        return challenge.lower().startswith("bearer ")


def _let_in(answer: httpx.Response, expected: int) -> Finding:
    return Finding("FAIL", f"answered {answer.status_code} and not {expected}")


def _with_code(answer: httpx.Response, expected: str) -> Finding:
    code = answer.json()["errors"][0]["code"]
    return WELL if code == expected else Finding("FAIL", f"its code is {code} and not {expected}")


def _message(answer: httpx.Response) -> str:
    """Return what the registry says of its error, to go on with."""
    try:
        return f": {answer.json()['errors'][0]['message']}"
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
