"""Names an OIDC token's subject for people, and its ids for the log.

Names can be reused by others: rules match ids, and names only tell people who it was. Sources of the claims:
https://docs.github.com/en/actions/reference/security/oidc, https://docs.gitlab.com/ci/secrets/id_token_authentication/,
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
"""

import re
from collections.abc import Mapping
from typing import Any

from token_exchange.rules import find_claim

GITHUB = "https://token.actions.githubusercontent.com"
AWS = ".tokens.sts.global.api.aws"

_IDS = (
    "repository_id", "repository_owner_id", "actor_id", "run_id",
    "project_id", "namespace_id", "user_id", "job_id",
    "kubernetes.io.serviceaccount.uid", "kubernetes.io.pod.uid", "jti",
)  # fmt: skip
_UNSAFE = re.compile(r"[^A-Za-z0-9:/._#@+=,-]")
_LONGEST = 128


def subject_name(claims: Mapping[str, Any]) -> str:
    """Return who a verified token is for: `github:owner/repo#run_id` and the like, at most 128 safe characters."""
    issuer: str = claims["iss"]
    if issuer == GITHUB or issuer.startswith(GITHUB + "/"):
        return _text("github:{}#{}", claims, "repository", "run_id")
    if issuer.endswith(AWS):
        return _text("aws:{}", claims, "sub")
    if "kubernetes.io" in claims:
        return _text("kubernetes:{}/{}", claims, "kubernetes.io.namespace", "kubernetes.io.serviceaccount.name")
    if "project_path" in claims:
        return _text("gitlab:{}#{}", claims, "project_path", "job_id")
    return _text("oidc:{}", claims, "sub")


def subject_ids(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return a verified token's ids by the names of their claims."""
    found = {name: find_claim(claims, name) for name in _IDS}
    return {name: _safe(str(value)) for name, value in found.items() if isinstance(value, str | int)}


def _text(form: str, claims: Mapping[str, Any], *names: str) -> str:
    return _safe(form.format(*(find_claim(claims, name) for name in names)))


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text[:_LONGEST])
