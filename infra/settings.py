"""What an operator can set: read from CDK context (`cdk.json`, or `-c key=value`), validated before anything is built.

Each setting is described in docs/settings.md.
"""

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Self

from constructs import Node
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from infra.regions import COMMERCIAL, Region

# The values that CloudWatch Logs takes; source:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip

# Each is tried at one place after another only where no other can match, so all take time linear in their input.
_NAME_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"\*|(?=..)(?:(?:{_NAME_PART}/)*{_NAME_PART}|[a-z0-9][a-z0-9._/-]*\*)")
_PREFIX = re.compile(rf"ROOT|(?:{_NAME_PART}/)*{_NAME_PART}")
_PRINCIPAL = re.compile(
    r"[0-9]{12}|o-[a-z0-9]{10,32}"
    r"|arn:aws[a-z-]*:iam::[0-9]{12}:(?:role|user)/[A-Za-z0-9_+=,.@/-]*[A-Za-z0-9_+=,.@-]"
)
_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_ORIGIN = re.compile(rf"\*|https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::(?:{_PORT}))?")
_ACCOUNT = re.compile(r"[0-9]{12}")
_EVENT_SOURCE = re.compile(r"(?!aws\.)[A-Za-z0-9._/-]{1,256}")
_EVENT_BUS = re.compile(r"(?!aws\.)[A-Za-z0-9._-]{1,256}")
_STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")
_HOSTED_ZONE = re.compile(r"Z[A-Z0-9]{1,31}")
_CERTIFICATE = re.compile(r"arn:aws:acm:([a-z0-9-]+):[0-9]{12}:certificate/[A-Za-z0-9_-]+")
_WEB_ACL = re.compile(r"arn:aws:wafv2:us-east-1:[0-9]{12}:global/webacl/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")
_EMAIL = re.compile(r"[^@\s:;,<>]{1,64}@[^@\s.:;,<>]+(?:\.[^@\s.:;,<>]+)+")

# What operators write by mistake, with the advice for each.
_Mistakes = Mapping[str, str]
_IMAGE = (
    r"(?:https?://|arn:aws[a-z-]*:ecr:[a-z0-9-]*:)?(?P<account>[0-9]{12})"
    r"(?:\.dkr[.-]ecr[a-z0-9.-]*/|:repository/)(?P<name>[^:@]+)(?:[:@].*)?"
)
_REGISTRY_MISTAKE = {
    r"[0-9]{12}\.dkr[.-]ecr[a-z0-9.-]*": "must be a repository name, not a registry's; put other accounts in registries"
}
_REPOSITORY_MISTAKES = _REGISTRY_MISTAKE | {
    _IMAGE: r"must be a repository's name without its registry; write \g<name>, and other accounts in registries"
}
_PUBLIC_REPOSITORY_MISTAKES = _REGISTRY_MISTAKE | {
    _IMAGE: r"must be a repository's name without its registry; write \g<name>, or \g<account>/\g<name> for another "
    "account"
}
_PREFIX_MISTAKES = {"(?!ROOT$)(?i:root)": "must be ROOT, in capitals, for a pull-through cache rule without a prefix"}
_PRINCIPAL_MISTAKES = {"arn:.*/": "must not end with a slash"}
# Browsers' origins are compared as a whole: https://fetch.spec.whatwg.org/#http-cors-protocol. The form in which
# browsers send them: https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin
_ORIGIN_MISTAKES = {
    r".+\*.*|\*.+": "must name one host, or be '*' alone for every origin",
    ".*[A-Z].*": "must be in lower case, as browsers send it",
    "http://[^/]+:80|https://[^/]+:443": "must not name the default port, which browsers leave out",
    f"https?://[^/]+:(?!(?:{_PORT})$)[0-9]+": "must have a port of 1 to 65535, without leading zeros",
}
_STACK_NAME_MISTAKES = {"(?i:CDKToolkit)": "can't be CDKToolkit, the stack that `make bootstrap` creates"}
_DOMAIN_MISTAKES = {
    r"(?:.*\.)?(?:cloudfront\.net|amazonaws\.com|on\.aws)": "must be a domain of your own; remove it to use "
    "CloudFront's name for the edge"
}
_EMAIL_MISTAKES = {r"(?i:mailto:)(.+)": r"must be the address alone; write \1"}

# What else is in the context: CDK's own keys and feature flags, what the CLI adds, and what it has looked up.
_FOREIGN_KEY = re.compile(r"(?:aws:|aws-cdk:|@|cdk-).*|acknowledged-issue-numbers|[a-z-]+:[A-Za-z0-9_]+=.*")

# What once was a setting, and what takes its place.
_REMOVED = {
    "createEventBus": "The stack creates an event bus of its own unless eventBusName names another; remove this key.",
}

_ONLY_WITH_EDGE = (
    "publicRepositories",
    "domainName",
    "certificateArn",
    "hostedZoneId",
    "edgeCacheSeconds",
    "webAclArn",
    "edgeLogs",
)

# CloudFront waits 60 seconds without a higher quota, and the function has to end before:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/DownloadDistValuesOrigin.html#DownloadDistValuesOriginResponseTimeout
_LONGEST_TIMEOUT_WITH_EDGE = 59

# https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html
_MOST_ORIGINS, _LONGEST_ORIGIN = 100, 253
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
_LONGEST_REPOSITORY = 256


# The prefix of a pull-through cache rule that has none:
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreatePullThroughCacheRule.html
EVERY_REPOSITORY = "ROOT"

EDGE_TLS_POLICIES = ("TLSv1.2_2025", "TLSv1.3_2025")
"""CloudFront's security policies for a domain of one's own, the default first; source:
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/secure-connections-supported-viewer-protocols-ciphers.html
"""

LONGEST_EDGE_CACHE_SECONDS = 1500
"""How long an answer may be kept at the edge. Every URL that the function gives out has half of its hour left at the
least, so one from the edge has five minutes for its download to begin."""


class SettingsError(Exception):
    """Settings are not what they can be; the message names each that is wrong and says what it has to be."""


def as_list(value: Any) -> list[Any]:
    """Return the list that `-c key=a,b` or `-c key='["a","b"]'` means; values of cdk.json are lists already.

    Raises:
        ValueError: If it is no list.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError('must be a list, such as a,b or ["a","b"]') from None
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError('must be a list, such as a,b or ["a","b"]')  # noqa: TRY004 (pydantic takes only ValueError)
    return list(dict.fromkeys(item if isinstance(item, str) else json.dumps(item) for item in value))


def _repositories(value: Any) -> list[Any]:
    repositories = as_list(value)
    if not repositories:
        raise ValueError("must name at least one repository; '*' means all")
    return repositories


def _origins(value: Any) -> list[Any]:
    origins = as_list(value)
    if len(origins) > _MOST_ORIGINS:
        raise ValueError(f"must be {_MOST_ORIGINS} origins at most; '*' means all")
    return origins


def _none_if_empty(value: Any) -> Any:
    """Return None for `-c key=`, which is how a setting is taken back on the command line."""
    return None if value == "" else value


def _optional(check: Callable[[Any], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: None if _none_if_empty(value) is None else check(value))


def _text(
    pattern: re.Pattern[str], rule: str, longest: int = 2048, mistakes: _Mistakes | None = None
) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise ValueError(rule)
        for mistake, advice in (mistakes or {}).items():
            if found := re.fullmatch(mistake, value):
                raise ValueError(found.expand(advice))
        if not pattern.fullmatch(value):
            raise ValueError(rule)
        return value

    return check


def _matching(
    pattern: re.Pattern[str], rule: str, longest: int = 2048, mistakes: _Mistakes | None = None
) -> BeforeValidator:
    return BeforeValidator(_text(pattern, rule, longest, mistakes))


def _one_of(*choices: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"must be {', '.join(choices[:-1])} or {choices[-1]}")
        return value

    return BeforeValidator(check)


def _number(least: int, most: int | None = None, unit: str = "") -> Callable[[Any], int]:
    rule = f"must be a whole number{unit}, {least} or more" if most is None else f"must be {least} to {most}{unit}"

    def check(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least or (most and value > most):
            raise ValueError(rule)
        return value

    return check


def _flag(value: Any) -> bool:
    flags = {"true": True, "false": False}
    name = str(value).lower()
    if name not in flags:
        raise ValueError("must be true or false")
    return flags[name]


def _retention(value: Any) -> int:
    days = next((days for days in RETENTION_DAYS if str(days) == str(value)), None)
    if days is None:
        raise ValueError(f"must be one of {', '.join(map(str, RETENTION_DAYS))}")
    return days


def _certificate(value: Any) -> str:
    match = _CERTIFICATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be the ARN of a certificate in ACM, such as arn:aws:acm:us-east-1:123456789012:…")
    # https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cnames-and-https-requirements.html
    if match[1] != "us-east-1":
        raise ValueError(
            f"must be of a certificate in us-east-1, where CloudFront reads certificates, and this one is in {match[1]}"
        )
    return str(value)


_List = BeforeValidator(as_list)
Flag = Annotated[bool, BeforeValidator(_flag)]
Repository = Annotated[
    str,
    _matching(
        _REPOSITORY,
        "must be a repository name, a prefix such as 'team/*', or '*' for all repositories",
        _LONGEST_REPOSITORY,
        _REPOSITORY_MISTAKES,
    ),
]
PullThroughPrefix = Annotated[
    str,
    _matching(
        _PREFIX, "must be the prefix of a pull-through cache rule, such as 'docker-hub', or ROOT", 30, _PREFIX_MISTAKES
    ),
]
AccountId = Annotated[str, _matching(_ACCOUNT, "must be an AWS account id, twelve digits")]
Principal = Annotated[
    str,
    _matching(
        _PRINCIPAL,
        "must be an account id, the ARN of an IAM role or user, or an organisation id (o-…)",
        mistakes=_PRINCIPAL_MISTAKES,
    ),
]
Origin = Annotated[
    str, _matching(_ORIGIN, "must be an origin such as https://example.com", _LONGEST_ORIGIN, _ORIGIN_MISTAKES)
]
EventSource = Annotated[
    str,
    _matching(
        _EVENT_SOURCE,
        "must be a source of events such as 'com.example.builds'; those that begin with 'aws.' are AWS's own",
    ),
]
StackName = Annotated[
    str,
    _matching(
        _STACK_NAME,
        "must be 1 to 128 letters, digits and '-', and begin with a letter",
        mistakes=_STACK_NAME_MISTAKES,
    ),
]
EventBusName = Annotated[
    str | None,
    _optional(
        _text(
            _EVENT_BUS,
            "must be the name of an event bus of this account: 1 to 256 letters, digits, '.', '-' and '_', not "
            "beginning with 'aws.', or 'default'",
        )
    ),
]
PublicRepository = Annotated[
    str,
    _matching(
        re.compile(rf"(?:[0-9]{{12}}/)?(?:{_REPOSITORY.pattern})"),
        "must be a repository name or a prefix such as 'team/*', with or without an account in front",
        _LONGEST_REPOSITORY,
        _PUBLIC_REPOSITORY_MISTAKES,
    ),
]
_HOST_RULE = "must be the name of a host in lower case, such as registry.example.com"
DomainName = Annotated[str | None, _optional(_text(_DOMAIN, _HOST_RULE, 253, _DOMAIN_MISTAKES))]
DownloadUrlHost = Annotated[str, _matching(_DOMAIN, _HOST_RULE, 253)]
HostedZoneId = Annotated[
    str | None,
    _optional(_text(_HOSTED_ZONE, "must be the id of a hosted zone in Route 53, such as Z0123456789ABCDEFGHIJ")),
]
WebAclArn = Annotated[
    str | None,
    _optional(
        _text(
            _WEB_ACL,
            "must be the ARN of a web ACL for CloudFront: in us-east-1, and with global/webacl/ in it",
        )
    ),
]
Email = Annotated[str | None, _optional(_text(_EMAIL, "must be an e-mail address", 320, _EMAIL_MISTAKES))]


class _Conflict(NamedTuple):
    """A problem of settings with each other, or with the region or account: the settings' names, and the message."""

    names: tuple[str, ...]
    text: str


class DeploymentSettings(BaseModel):
    """The settings of one deployment; the defaults deploy as they are."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True, extra="forbid")

    stack_name: StackName = "EcrLayerResolver"
    repositories: Annotated[tuple[Repository, ...], BeforeValidator(_repositories)] = ("*",)
    registries: Annotated[tuple[AccountId, ...], _List] = ()
    image_pull: Flag = False
    list_tags: Flag = False
    pull_through_prefixes: Annotated[tuple[PullThroughPrefix, ...], _List] = ()
    auth_type: Annotated[str, _one_of("AWS_IAM", "NONE")] = "AWS_IAM"
    allowed_principals: Annotated[tuple[Principal, ...], _List] = ()
    allowed_origins: Annotated[tuple[Origin, ...], BeforeValidator(_origins)] = ()
    memory_size: Annotated[int, BeforeValidator(_number(128, 10240, " MB"))] = 512
    timeout_seconds: Annotated[int, BeforeValidator(_number(3, 900, " seconds"))] = 15
    reserved_concurrency: Annotated[int | None, _optional(_number(0))] = None
    snap_start: Flag = True
    keep_versions: Flag = False
    ipv6: Flag = False
    download_url_hosts: Annotated[tuple[DownloadUrlHost, ...], _List] = ()
    log_level: Annotated[str, _one_of("DEBUG", "INFO", "WARNING", "ERROR")] = "INFO"
    log_retention_days: Annotated[int, BeforeValidator(_retention)] = 30
    keep_logs: Flag = False
    saved_queries: Flag = True
    tracing: Flag = False
    event_sources: Annotated[tuple[EventSource, ...], _List] = ("ecr-layer-resolver.requests",)
    event_bus_name: EventBusName = None
    pull_events: Flag = False
    maximum_result_kilobytes: Annotated[int, BeforeValidator(_number(16, 1024, " KB"))] = 1024
    alarm_email: Email = None
    edge: Flag = False
    public_repositories: Annotated[tuple[PublicRepository, ...], _List] = ()
    domain_name: DomainName = None
    certificate_arn: Annotated[str | None, _optional(_certificate)] = None
    hosted_zone_id: HostedZoneId = None
    edge_tls_policy: Annotated[str, _one_of(*EDGE_TLS_POLICIES)] = EDGE_TLS_POLICIES[0]
    edge_cache_seconds: Annotated[int, BeforeValidator(_number(0, LONGEST_EDGE_CACHE_SECONDS, " seconds"))] = 0
    web_acl_arn: WebAclArn = None
    edge_logs: Flag = False

    @classmethod
    def from_context(cls, node: Node, region: Region | None = None, sources: Mapping[str, str] | None = None) -> Self:
        """Return the settings that a construct node's context has.

        Args:
            node: The node.
            region: Where they are for.
            sources: Where each key of the context comes from, to say so of what is wrong.

        Raises:
            SettingsError: If one has a value that it can't have, or if the context has a key that is neither a setting
                nor CDK's.
        """
        context: dict[str, Any] = node.get_all_context()
        ours = {name: value for name, value in context.items() if not _FOREIGN_KEY.fullmatch(name)}
        # The CLI says where it is going to deploy: https://docs.aws.amazon.com/cdk/v2/guide/configure-env.html
        account = os.environ.get("CDK_DEFAULT_ACCOUNT")
        try:
            return cls.from_values({name: value for name, value in ours.items() if value is not None}, region, account)
        except SettingsError as error:
            lines = [_with_source(line, sources or {}) for line in str(error).splitlines()]
            raise SettingsError("\n".join(lines)) from None

    @classmethod
    def from_values(cls, values: Mapping[str, Any], region: Region | None = None, account: str | None = None) -> Self:
        """Return the settings with these values, by their names in `cdk.json`.

        Args:
            values: The values.
            region: Where they are for; some defaults depend on what it has.
            account: The id of the stack's account, if it is known.

        Raises:
            SettingsError: If one has a value that it can't have, or is no setting.
        """
        region = region or Region()
        problems = [_unknown(name, cls.names()) for name in values if name not in cls.names()]
        known = _defaults(region) | {name: value for name, value in values.items() if name in cls.names()}
        invalid = set()
        try:
            settings = cls.model_validate(known)
        except ValidationError as error:
            problems += [_describe(problem["loc"], problem["msg"]) for problem in error.errors()]
            invalid = {problem["loc"][0] for problem in error.errors()}
            settings = cls.model_validate({name: value for name, value in known.items() if name not in invalid})
        # An invalid setting has its default here, so conflicts with it mean nothing.
        conflicts = settings.conflicts(region, account)
        problems += [f"  {text}" for names, text in conflicts if invalid.isdisjoint(names)]
        if problems:
            raise SettingsError("\n".join(["The deployment's settings are not valid:", *problems]))
        return settings

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings, as they are in `cdk.json`."""
        return tuple(str(field.alias) for field in cls.model_fields.values())

    def values(self) -> dict[str, Any]:
        """Return all settings by their names in `cdk.json`, those without a value as None."""
        return self.model_dump(mode="json", by_alias=True)

    def changes(self) -> dict[str, Any]:
        """Return the settings that are not what they are by default where a region has everything."""
        defaults = type(self)().values()
        return {name: value for name, value in self.values().items() if value != defaults[name]}

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

    def conflicts(self, region: Region, account: str | None) -> Iterator[_Conflict]:
        """Return what contradicts each other, or the region or account: the settings' names and the problem."""
        yield from self._conflicts_of_public_access()
        yield from self._conflicts_of_repositories()
        yield from self._conflicts_of_edge()
        yield from self._conflicts_of_accounts(account)
        yield from self._conflicts_in(region)

    def _conflicts_of_public_access(self) -> Iterator[_Conflict]:
        if self.auth_type != "NONE":
            return
        if "*" in self.repositories:
            yield _Conflict(
                ("authType", "repositories"),
                "authType NONE lets anyone in the world download layers, so repositories must name what is public and "
                "can't be '*'",
            )
        if self.allowed_principals:
            yield _Conflict(
                ("authType", "allowedPrincipals"),
                "allowedPrincipals has no effect with authType NONE; remove one of the two",
            )
        if self.pull_through_prefixes:
            yield _Conflict(
                ("authType", "pullThroughPrefixes"),
                "authType NONE would let anyone in the world import images into your registry; remove "
                "pullThroughPrefixes, or authType",
            )
        if self.edge:
            yield _Conflict(
                ("authType", "edge"),
                "edge needs authType AWS_IAM, or anyone could go around it to the function URL",
            )

    def _conflicts_of_repositories(self) -> Iterator[_Conflict]:
        for name in self.repositories:
            account, _, rest = name.partition("/")
            if rest and account in self.registries:
                yield _Conflict(
                    ("repositories", "registries"),
                    f"repositories has {name}; write {rest} without the account, because registries has it already",
                )
        for prefix in self.pull_through_prefixes:
            if not self._imported(prefix):
                yield _Conflict(
                    ("pullThroughPrefixes", "repositories"),
                    f"pullThroughPrefixes has {prefix}, but repositories has none of {prefix}/*; add it",
                )
        for name in self.public_repositories:
            yield from self._conflicts_of_public_repository(name)

    def _conflicts_of_public_repository(self, name: str) -> Iterator[_Conflict]:
        account, rest = re.fullmatch(r"(?:([0-9]{12})/)?(.+)", name).groups()  # type: ignore[union-attr]
        if account and account not in self.registries:
            yield _Conflict(
                ("publicRepositories", "registries"),
                f"publicRepositories has {name}, but registries does not have {account}; add it",
            )
        if rest == "*":
            yield _Conflict(
                ("publicRepositories",),
                "publicRepositories lets anyone in the world download layers, so it must name what is public and "
                "can't be '*'",
            )
        elif not any(_covers(each, rest) for each in self.repositories):
            yield _Conflict(
                ("publicRepositories", "repositories"),
                f"publicRepositories has {name}, but repositories does not; add it",
            )

    def _conflicts_of_edge(self) -> Iterator[_Conflict]:
        values = self.values()
        for name in _ONLY_WITH_EDGE:
            if values[name] and not self.edge:
                yield _Conflict(
                    ("edge", name), f"{name} has no effect without edge; set edge to true, or remove {name}"
                )
        if self.edge and self.timeout_seconds > _LONGEST_TIMEOUT_WITH_EDGE:
            yield _Conflict(
                ("edge", "timeoutSeconds"),
                f"timeoutSeconds must be {_LONGEST_TIMEOUT_WITH_EDGE} at most with edge, because CloudFront waits 60 "
                "seconds",
            )
        if self.edge and bool(self.domain_name) != bool(self.certificate_arn):
            yield _Conflict(
                ("domainName", "certificateArn"),
                "domainName and certificateArn need each other: the certificate is that of the domain",
            )
        if self.edge_tls_policy != EDGE_TLS_POLICIES[0] and not self.domain_name:
            yield _Conflict(
                ("edgeTlsPolicy", "domainName"),
                "edgeTlsPolicy needs domainName: CloudFront's own name has a policy that can't be changed",
            )
        if self.edge and self.hosted_zone_id and not self.domain_name:
            yield _Conflict(
                ("hostedZoneId", "domainName"),
                "hostedZoneId needs domainName: its records lead that name to the edge",
            )

    def _conflicts_of_accounts(self, account: str | None) -> Iterator[_Conflict]:
        """Give the ARNs that CloudFront would refuse, because they are in another account than the stack."""
        arns = {"certificateArn": self.certificate_arn, "webAclArn": self.web_acl_arn}
        accounts = {name: arn.split(":")[4] for name, arn in arns.items() if arn}
        if account is None and len(set(accounts.values())) > 1:
            yield _Conflict(tuple(accounts), "certificateArn and webAclArn must be in the same account, the stack's")
        for name, other in accounts.items():
            if account is not None and other != account:
                yield _Conflict((name,), f"{name}: must be in the stack's account, {account}; this one is in {other}")

    def _conflicts_in(self, region: Region) -> Iterator[_Conflict]:
        for index, principal in enumerate(self.allowed_principals):
            if region.name and principal.startswith("arn:") and principal.split(":")[1] != region.partition:
                rule = f"must begin with arn:{region.partition}: in {region.name}, or be an account id"
                yield _Conflict(("allowedPrincipals",), f"allowedPrincipals[{index}]: {rule}")
        most = region.largest_event_kilobytes
        if self.maximum_result_kilobytes > most:
            rule = f"must be {most} at most in {region.name}, where events can't be larger"
            yield _Conflict(("maximumResultKilobytes",), f"maximumResultKilobytes: {rule}")
        if self.edge and region.partition != COMMERCIAL:
            yield _Conflict(
                ("edge",), f"edge: can't be in {region.name}: it needs CloudFront as commercial regions have it"
            )
        if self.edge_logs and not region.has_edge_monitoring:
            yield _Conflict(
                ("edgeLogs",),
                f"edgeLogs: must be false in {region.name}, because CloudFront's logs can be set up in us-east-1 "
                "only; deploy the stack there, or set up logs in us-east-1 by hand, as docs/edge.md shows",
            )


def _defaults(region: Region) -> dict[str, Any]:
    return {
        "snapStart": region.has_snap_start,
        "savedQueries": region.has_saved_queries,
        "maximumResultKilobytes": region.largest_event_kilobytes,
    }


def _covers(wide: str, narrow: str) -> bool:
    """Tell whether everything that one name or prefix means is among what the other means."""
    return narrow.startswith(wide.removesuffix("*")) if wide.endswith("*") else narrow == wide


def _unknown(name: str, names: Iterable[str]) -> str:
    if name in _REMOVED:
        return f"  {name}: is no longer a setting. {_REMOVED[name]}"
    by_lower = {each.lower(): each for each in names}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    advice = f"did you mean {by_lower[nearest[0]]}?" if nearest else "docs/settings.md has all that there are"
    return f"  {name}: is not a setting; {advice}"


def _with_source(line: str, sources: Mapping[str, str]) -> str:
    """Return the line of a message with where the setting that it is about comes from, if it is about one."""
    about = re.match(r"  ([^\s:\[]+)", line)
    source = sources.get(about[1]) if about is not None else None
    return f"{line} ({source})" if source is not None else line


def _describe(location: tuple[int | str, ...], message: str) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in location)
    text = message.removeprefix("Value error, ")
    return f"  {place}: {text}" if place else f"  {text}"
