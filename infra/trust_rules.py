"""Trust rules: OIDC tokens that log in, and their repositories. docs/keyless.md describes them."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from .rules import PublicRepositories, number, text

GITHUB = "https://token.actions.githubusercontent.com"
_AWS = ".tokens.sts.global.api.aws"
# A short token carries the repositories, and has 2,048 characters at most.
_LONGEST_SCOPE = 1024
_Name = Annotated[
    str,
    BeforeValidator(
        text(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", "must be a name of 1 to 32 small letters, digits and '-'")
    ),
]
_Issuer = Annotated[
    str,
    BeforeValidator(
        text(
            r"https://[a-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]{0,500})?",
            "must be an issuer exactly as its tokens have it, such as https://gitlab.com",
        )
    ),
]

_PINS = {
    "GitHub": (("repository_owner_id",), ("repository_id",)),
    "AWS": (("sub",),),
    "Kubernetes": (("kubernetes.io.namespace", "kubernetes.io.serviceaccount.name"),),
    "GitLab": (("project_id",), ("namespace_id",)),
    "other": (("sub",),),
}
"""Claims that identify the owner; a rule needs one set of them, or strangers' tokens would match.

Others can take over names: GitHub's `sub` changed its form in July 2026, and anyone may register the name of a deleted
organisation. Nobody gets an id again. Sources:
https://docs.github.com/actions/reference/security/oidc,
https://docs.gitlab.com/ci/secrets/id_token_authentication/,
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/,
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html
"""


def _values(value: Any) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    if (
        not isinstance(values, (list, tuple))
        or not values
        or not all(isinstance(each, str) and each for each in values)
    ):
        raise ValueError("must be a text, or a list of texts of which one has to match")
    return tuple(values)


class TrustRule(BaseModel):
    """A rule that exchanges OIDC tokens for short tokens.

    Attributes:
        issuer: The issuer, exactly as its tokens have it.
        claims: Claims that a token must have, by their names; those inside objects with dots, such as
            `kubernetes.io.namespace`. Each is a text, or several of which one has to match, without patterns.
        repositories: What the job may pull: names, prefixes such as `team/*`, or either after another registry's
            account id and a slash.
        minutes: How long the short token lives, 1 to 60.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: _Issuer
    claims: Mapping[str, Annotated[tuple[str, ...], BeforeValidator(_values)]]
    repositories: PublicRepositories
    minutes: Annotated[int, BeforeValidator(number(1, 60, " minutes"))] = 60

    @classmethod
    def github(cls, *, repositories: list[str], owner_id: str, minutes: int = 60, **claims: str | list[str]) -> Self:
        """Return a rule for jobs of GitHub Actions.

        Args:
            repositories: What they may pull.
            owner_id: The id of the user or organisation: `gh api users/NAME --jq .id`.
            minutes: How long the short token lives.
            claims: Further claims, such as `repository_id`, `ref`, `environment` or `job_workflow_ref`.
        """
        claims = {"repository_owner_id": owner_id, **claims}
        return cls.model_validate(
            {"issuer": GITHUB, "claims": claims, "repositories": repositories, "minutes": minutes}
        )

    @classmethod
    def kubernetes(
        cls,
        *,
        issuer: str,
        repositories: list[str],
        namespace: str,
        service_account: str | list[str],
        minutes: int = 60,
    ) -> Self:
        """Return a rule for pods of a cluster.

        Args:
            issuer: The cluster's issuer: `kubectl get --raw /.well-known/openid-configuration`. It must be reachable.
            repositories: What they may pull.
            namespace: Their namespace.
            service_account: Their service account, or several.
            minutes: How long the short token lives.
        """
        claims = {"kubernetes.io.namespace": namespace, "kubernetes.io.serviceaccount.name": service_account}
        return cls.model_validate(
            {"issuer": issuer, "claims": claims, "repositories": repositories, "minutes": minutes}
        )

    @property
    def platform(self) -> str:
        """The platform that the issuer or the claims tell: a key of the table of claims to pin."""
        if self.issuer.startswith(GITHUB):
            return "GitHub"
        if self.issuer.endswith(_AWS):
            return "AWS"
        if any(name.startswith("kubernetes.io.") for name in self.claims):
            return "Kubernetes"
        return "GitLab" if {"project_id", "namespace_id"} & set(self.claims) else "other"

    @model_validator(mode="after")
    def _fits_a_token(self) -> Self:
        size = len(json.dumps(self.repositories, separators=(",", ":")))
        if size > _LONGEST_SCOPE:
            raise ValueError(f"repositories have {size:,} characters, and at most {_LONGEST_SCOPE:,} fit; use prefixes")
        return self

    @model_validator(mode="after")
    def _pins_the_owner(self) -> Self:
        pins = _PINS[self.platform]
        if not any(all(name in self.claims for name in names) for names in pins):
            needed = ", or ".join(" and ".join(names) for names in pins)
            raise ValueError(f"claims must identify the owner by {needed}")
        if self.platform == "GitHub" and "sub" in self.claims:
            raise ValueError(
                "claims must not have sub, whose form GitHub changed; use repository_id, ref or environment"
            )
        return self


def _parsed(value: Any) -> Any:
    """Return the rules of `-c trustRules='{…}'`; those of cdk.json are parsed already."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("must be an object of rules by their names") from None


TrustRules = Annotated[Mapping[_Name, TrustRule], BeforeValidator(_parsed)]
"""Trust rules by their names."""


def written(rules: Mapping[str, TrustRule]) -> str:
    """Return rules as the exchange function reads them: JSON."""
    return json.dumps({name: rule.model_dump(mode="json") for name, rule in rules.items()}, separators=(",", ":"))
