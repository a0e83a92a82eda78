"""What a resolver can be told, in plain values: checked one by one, against each other, and against the region."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Self

from aws_cdk import Token
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from .limits import exceeded_limits
from .regions import COMMERCIAL, Region
from .rules import (
    EDGE_TLS_POLICIES,
    LONGEST_EDGE_CACHE_SECONDS,
    AccountIds,
    CertificateArn,
    DomainName,
    EventSources,
    Flag,
    HostedZoneId,
    Hosts,
    Origins,
    PublicRepositories,
    PullThroughPrefixes,
    Repositories,
    TokenStoreArn,
    WebAclArn,
    number,
    one_of,
    optional,
)
from .trust_rules import TrustRules

EVERY_REPOSITORY = "ROOT"
"""The prefix of a pull-through cache rule without one; source:
https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreatePullThroughCacheRule.html
"""

PUBLIC_CONCURRENCY = 10
"""Reserved concurrency of a function that anyone may call, unless it is set.

It bounds the cost of a flood, because function URLs have neither WAF nor rate limits: ten environments of 512 MB answer
some 400 requests a second and cost 13 dollars a day at most, requests included.
"""

# CloudFront waits 60 seconds without a higher quota, and the function has to end before:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/DownloadDistValuesOrigin.html#DownloadDistValuesOriginResponseTimeout
_LONGEST_TIMEOUT_WITH_EDGE = 59

_ONLY_WITH_EDGE = (
    "public_repositories",
    "domain_name",
    "certificate_arn",
    "hosted_zone_id",
    "edge_cache_seconds",
    "web_acl_arn",
    "token_store_arn",
    "edge_logs",
    "edge_layers",
    "trust_rules",
)

_PROPS = {
    "timeout_seconds": "timeout",
    "reserved_concurrency": "reserved_concurrent_executions",
    "maximum_result_kilobytes": "maximum_result_size",
    "public_repositories": "edge.public_repositories",
    "domain_name": "edge.domain_name",
    "certificate_arn": "edge.certificate",
    "hosted_zone_id": "edge.hosted_zone",
    "edge_tls_policy": "edge.tls_policy",
    "edge_cache_seconds": "edge.cache_duration",
    "web_acl_arn": "edge.web_acl_arn",
    "token_store_arn": "edge.token_store",
    "edge_logs": "edge.access_logs",
    "edge_layers": "edge.layers",
    "trust_rules": "edge.trust_rules",
}
"""Props of the construct whose names differ from those here."""


# Of pydantic's own errors, those that a trust rule can have.
_MESSAGES = {
    "missing": "must be given",
    "extra_forbidden": "must not be given; a trust rule has issuer, claims, repositories and minutes",
    "model_type": "must be an object with issuer, claims, repositories and minutes",
    "mapping_type": "must be an object of names and values",
    "dict_type": "must be an object of names and values",
}


class SettingsError(ValueError):
    """Settings or props are invalid; the message names each that is wrong, and what it must be."""


class Conflict(NamedTuple):
    """A problem of values with each other, or with the region or account.

    Attributes:
        names: The fields' names.
        text: The message.
    """

    names: tuple[str, ...]
    text: str


class Options(BaseModel):
    """The options of one resolver. docs/settings.md describes each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repositories: Repositories
    registries: AccountIds = ()
    image_pull: Flag = False
    list_tags: Flag = False
    pull_through_prefixes: PullThroughPrefixes = ()
    pull_time_exclusion: Flag = False
    auth_type: Annotated[str, one_of("AWS_IAM", "NONE")] = "AWS_IAM"
    allowed_origins: Origins = ()
    memory_size: Annotated[int, BeforeValidator(number(128, 10240, " MB"))] = 512
    timeout_seconds: Annotated[int, BeforeValidator(number(3, 900, " seconds"))] = 15
    reserved_concurrency: Annotated[int | None, optional(number(0))] = None
    snap_start: Flag = True
    keep_versions: Flag = False
    ipv6: Flag = False
    download_url_hosts: Hosts = ()
    log_level: Annotated[str, one_of("DEBUG", "INFO", "WARNING", "ERROR")] = "INFO"
    saved_queries: Flag = True
    tracing: Flag = False
    event_sources: EventSources = ("ecr-layer-resolver.requests",)
    pull_events: Flag = False
    maximum_result_kilobytes: Annotated[int, BeforeValidator(number(16, 1024, " KB"))] = 1024
    edge: Flag = False
    public_repositories: PublicRepositories = ()
    domain_name: DomainName = None
    certificate_arn: CertificateArn = None
    hosted_zone_id: HostedZoneId = None
    edge_tls_policy: Annotated[str, one_of(*EDGE_TLS_POLICIES)] = EDGE_TLS_POLICIES[0]
    edge_cache_seconds: Annotated[int, BeforeValidator(number(0, LONGEST_EDGE_CACHE_SECONDS, " seconds"))] = 0
    edge_metrics: Flag = True
    web_acl_arn: WebAclArn = None
    token_store_arn: TokenStoreArn = None
    edge_logs: Flag = False
    edge_layers: Flag = False
    trust_rules: TrustRules = {}

    @classmethod
    def name_of(cls, field: str) -> str:
        """Return the name that messages have for a field."""
        return _PROPS.get(field, field)

    @classmethod
    def checked(
        cls, values: Mapping[str, Any], region: Region, account: str | None = None, problems: tuple[str, ...] = ()
    ) -> Self:
        """Return the options with these values.

        Args:
            values: The values by their fields' names; the rest has the defaults of the region.
            region: Where they are for.
            account: The stack's account, None if it isn't known.
            problems: Problems that are known already, reported with those found here.

        Raises:
            SettingsError: If a value is invalid, or conflicts with another.
        """
        values = _defaults(region) | {name: value for name, value in values.items() if value is not None}
        found = list(problems)
        invalid = set()
        try:
            options = cls.model_validate(values)
        except ValidationError as error:
            found += [cls._describe(each["loc"], _MESSAGES.get(each["type"], each["msg"])) for each in error.errors()]
            invalid = {str(each["loc"][0]) for each in error.errors()}
            # An invalid value has its default here, so conflicts with it mean nothing.
            rest = {name: value for name, value in values.items() if name not in invalid}
            options = cls.model_validate({"repositories": ("*",)} | rest)
        found += [text for names, text in options.conflicts(region, account) if invalid.isdisjoint(names)]
        if found:
            raise SettingsError("\n  ".join(["Invalid settings:", *found]))
        return options

    @classmethod
    def _describe(cls, location: tuple[int | str, ...], message: str) -> str:
        field, *indexes = location
        names = (f"[{each}]" if isinstance(each, int) else f".{each}" for each in indexes if each != "[key]")
        place = cls.name_of(str(field)) + "".join(names)
        return f"{place}: {message.removeprefix('Value error, ')}"

    @property
    def concurrency(self) -> int | None:
        """The reserved concurrency, None for no reservation."""
        if self.reserved_concurrency is None and self.auth_type == "NONE":
            return PUBLIC_CONCURRENCY
        return self.reserved_concurrency

    @property
    def catalog(self) -> tuple[str, ...]:
        """What `/v2/_catalog` lists at the edge: nothing if a prefix stands for names that only ECR knows."""
        return () if any(each.endswith("*") for each in self.repositories) else self.repositories

    def imported_repositories(self) -> list[str]:
        """Return the repositories, among those that are served, that pull-through caches may fill."""
        found = (name for prefix in self.pull_through_prefixes for name in self._imported(prefix))
        return list(dict.fromkeys(found))

    def _imported(self, prefix: str) -> list[str]:
        if prefix == EVERY_REPOSITORY:
            return list(self.repositories)
        below = f"{prefix}/*"
        if any(_covers(name, below) for name in self.repositories):
            return [below]
        return [name for name in self.repositories if _covers(below, name)]

    def conflicts(self, region: Region, account: str | None) -> Iterator[Conflict]:
        """Give the conflicts of values with each other, or with the region or account."""
        yield from self._conflicts_of_public_access()
        yield from self._conflicts_of_repositories()
        yield from self._conflicts_of_scopes()
        yield from self._conflicts_of_edge()
        yield from self._conflicts_of_accounts(account)
        yield from self._conflicts_in(region)
        for problem in exceeded_limits(self, region):
            yield Conflict((), problem)

    def _conflicts_of_public_access(self) -> Iterator[Conflict]:
        if self.auth_type != "NONE":
            return
        auth_type, prefixes, edge = map(self.name_of, ("auth_type", "pull_through_prefixes", "edge"))
        if "*" in self.repositories:
            yield Conflict(
                ("auth_type", "repositories"),
                f"{auth_type} NONE lets everyone download layers, so repositories must name what is public "
                "and can't be '*'",
            )
        if self.pull_through_prefixes:
            yield Conflict(
                ("auth_type", "pull_through_prefixes"),
                f"{auth_type} NONE would let everyone import images into your registry; remove {prefixes}, "
                f"or {auth_type}",
            )
        if self.edge:
            yield Conflict(
                ("auth_type", "edge"),
                f"{edge} needs {auth_type} AWS_IAM, or anyone could go around it to the function URL",
            )

    def _conflicts_of_repositories(self) -> Iterator[Conflict]:
        prefixes, exclusion = self.name_of("pull_through_prefixes"), self.name_of("pull_time_exclusion")
        if self.pull_time_exclusion and not self.image_pull:
            image_pull = self.name_of("image_pull")
            yield Conflict(
                ("pull_time_exclusion", "image_pull"),
                f"{exclusion} has no effect without {image_pull}; set {image_pull} to true, or remove {exclusion}",
            )
        for name in self.repositories:
            account, _, rest = name.partition("/")
            if rest and account in self.registries:
                yield Conflict(
                    ("repositories", "registries"),
                    f"repositories has {name}; write {rest} without the account, because registries has it already",
                )
        for prefix in self.pull_through_prefixes:
            if not self._imported(prefix):
                yield Conflict(
                    ("pull_through_prefixes", "repositories"),
                    f"{prefixes} has {prefix}, but repositories has none of {prefix}/*; add it",
                )

    def _conflicts_of_scopes(self) -> Iterator[Conflict]:
        public, rules = self.name_of("public_repositories"), self.name_of("trust_rules")
        for name in self.public_repositories:
            if re.fullmatch(r"(?:[0-9]{12}/)?\*", name):
                yield Conflict(
                    ("public_repositories",),
                    f"{public} lets everyone download layers, so it must name what is public and can't be '*'",
                )
            else:
                yield from self._conflicts_of_scope("public_repositories", public, name)
        for rule, trust in self.trust_rules.items():
            for name in trust.repositories:
                yield from self._conflicts_of_scope("trust_rules", f"{rules}.{rule}", name)

    def _conflicts_of_scope(self, field: str, place: str, name: str) -> Iterator[Conflict]:
        account, rest = re.fullmatch(r"(?:([0-9]{12})/)?(.+)", name).groups()  # type: ignore[union-attr]
        if account and account not in self.registries:
            yield Conflict((field, "registries"), f"{place} has {name}, but registries does not have {account}; add it")
        if not any(_covers(each, rest) for each in self.repositories):
            yield Conflict((field, "repositories"), f"{place} has {name}, but repositories does not; add it")

    def _conflicts_of_edge(self) -> Iterator[Conflict]:
        edge, domain, certificate, zone, policy = map(
            self.name_of, ("edge", "domain_name", "certificate_arn", "hosted_zone_id", "edge_tls_policy")
        )
        for field in _ONLY_WITH_EDGE:
            if getattr(self, field) and not self.edge:
                name = self.name_of(field)
                yield Conflict(
                    ("edge", field), f"{name} has no effect without {edge}; set {edge} to true, or remove {name}"
                )
        if self.edge and self.timeout_seconds > _LONGEST_TIMEOUT_WITH_EDGE:
            yield Conflict(
                ("edge", "timeout_seconds"),
                f"{self.name_of('timeout_seconds')} must be {_LONGEST_TIMEOUT_WITH_EDGE} at most with {edge}, because "
                "CloudFront waits 60 seconds",
            )
        if self.edge and bool(self.domain_name) != bool(self.certificate_arn):
            yield Conflict(
                ("domain_name", "certificate_arn"),
                f"{domain} and {certificate} need each other: the certificate is that of the domain",
            )
        if self.edge_tls_policy != EDGE_TLS_POLICIES[0] and not self.domain_name:
            yield Conflict(
                ("edge_tls_policy", "domain_name"),
                f"{policy} needs {domain}: CloudFront's own name has a policy that can't be changed",
            )
        if self.edge and self.hosted_zone_id and not self.domain_name:
            yield Conflict(
                ("hosted_zone_id", "domain_name"), f"{zone} needs {domain}: its records lead that name to the edge"
            )

    def _conflicts_of_accounts(self, account: str | None) -> Iterator[Conflict]:
        """Give the ARNs that CloudFront would refuse, because they are in another account than the stack."""
        arns = {field: getattr(self, field) for field in ("certificate_arn", "web_acl_arn", "token_store_arn")}
        accounts = {field: arn.split(":")[4] for field, arn in arns.items() if arn and not Token.is_unresolved(arn)}
        if account is None and len(set(accounts.values())) > 1:
            names = " and ".join(self.name_of(field) for field in accounts)
            yield Conflict(tuple(accounts), f"{names} must be in the same account, the stack's")
        for field, other in accounts.items():
            if account is not None and other != account:
                yield Conflict(
                    (field,),
                    f"{self.name_of(field)}: must be in the stack's account, {account}; this one is in {other}",
                )

    def _conflicts_in(self, region: Region) -> Iterator[Conflict]:
        most = region.largest_event_kilobytes
        if self.maximum_result_kilobytes > most:
            name = self.name_of("maximum_result_kilobytes")
            yield Conflict(
                ("maximum_result_kilobytes",),
                f"{name}: must be {most} at most in {region.name}, where events can't be larger",
            )
        if self.edge and region.partition != COMMERCIAL:
            name = self.name_of("edge")
            yield Conflict(
                ("edge",), f"{name}: can't be in {region.name}: it needs CloudFront as commercial regions have it"
            )
        if self.edge_logs and not region.has_edge_monitoring:
            yield Conflict(
                ("edge_logs",),
                f"{self.name_of('edge_logs')}: must be false in {region.name}, because CloudFront's logs can be set up "
                "in us-east-1 only; deploy the stack there, or set up logs in us-east-1 by hand, as docs/edge.md shows",
            )


def _defaults(region: Region) -> dict[str, Any]:
    return {
        "snap_start": region.has_snap_start,
        "saved_queries": region.has_saved_queries,
        "maximum_result_kilobytes": region.largest_event_kilobytes,
        "edge_metrics": region.has_additional_edge_metrics,
    }


def _covers(wide: str, narrow: str) -> bool:
    """Tell whether a name or prefix includes another; one that CDK resolves later counts as included."""
    if Token.is_unresolved(wide) or Token.is_unresolved(narrow):
        return True
    return narrow.startswith(wide.removesuffix("*")) if wide.endswith("*") else narrow == wide
