"""Types of values that settings and props share; each checks a value and says how to correct it.

Values that CDK resolves only at deployment (tokens) pass unchecked.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from aws_cdk import Token
from pydantic import BeforeValidator

# Each part ends where no other can match, so all patterns take time linear in their input.
_NAME_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"\*|(?=..)(?:(?:{_NAME_PART}/)*{_NAME_PART}|[a-z0-9][a-z0-9._/-]*\*)"
_PREFIX = rf"ROOT|(?:{_NAME_PART}/)*{_NAME_PART}"
_PRINCIPAL = (
    r"[0-9]{12}|o-[a-z0-9]{10,32}"
    r"|arn:aws[a-z-]*:iam::[0-9]{12}:(?:role|user)/[A-Za-z0-9_+=,.@/-]*[A-Za-z0-9_+=,.@-]"
)
_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_ORIGIN = rf"\*|https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::(?:{_PORT}))?"
_DOMAIN = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])"
_ARN = "arn:aws"
_CERTIFICATE = re.compile(rf"{_ARN}:acm:([a-z0-9-]+):[0-9]{{12}}:certificate/[A-Za-z0-9_-]+")
_WEB_ACL = rf"{_ARN}:wafv2:us-east-1:[0-9]{{12}}:global/webacl/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+"
_TOKEN_STORE = rf"{_ARN}:cloudfront::[0-9]{{12}}:key-value-store/[A-Za-z0-9-]+"
_EMAIL = r"[^@\s:;,<>]{1,64}@[^@\s.:;,<>]+(?:\.[^@\s.:;,<>]+)+"

# https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html
_MOST_ORIGINS, _LONGEST_ORIGIN = 100, 253
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
_LONGEST_REPOSITORY = 256

# Frequent mistakes, with the advice for each.
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
# Browsers' origins are compared as a whole: https://fetch.spec.whatwg.org/#http-cors-protocol. The form in which
# browsers send them: https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin
_ORIGIN_MISTAKES = {
    r".+\*.*|\*.+": "must name one host, or be '*' alone for every origin",
    ".*[A-Z].*": "must be in lower case, as browsers send it",
    "http://[^/]+:80|https://[^/]+:443": "must not name the default port, which browsers leave out",
    f"https?://[^/]+:(?!(?:{_PORT})$)[0-9]+": "must have a port of 1 to 65535, without leading zeros",
}
_DOMAIN_MISTAKES = {
    r"(?:.*\.)?(?:cloudfront\.net|amazonaws\.com|on\.aws)": "must be a domain of your own; remove it to use "
    "CloudFront's name for the edge"
}

EDGE_TLS_POLICIES = ("TLSv1.2_2025", "TLSv1.3_2025")
"""CloudFront's security policies for a domain of one's own, the default first; source:
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/secure-connections-supported-viewer-protocols-ciphers.html
"""

LONGEST_EDGE_CACHE_SECONDS = 1500
"""How long the edge may keep an answer. The function returns URLs with at least half an hour left, so one from the
edge has at least five minutes for its download to begin."""


def as_list(value: Any) -> list[Any]:
    """Return the list that `-c key=a,b` or `-c key='["a","b"]'` means; values of cdk.json are lists already.

    Raises:
        ValueError: If it isn't a list.
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


def text(pattern: str, rule: str, longest: int = 2048, mistakes: _Mistakes | None = None) -> Callable[[Any], str]:
    """Return a check for a string that matches a pattern as a whole.

    Args:
        pattern: The pattern.
        rule: The message about a string that doesn't match.
        longest: The most characters.
        mistakes: Patterns of frequent mistakes, with a message for each.
    """
    compiled = re.compile(pattern)

    def check(value: Any) -> str:
        if isinstance(value, str) and Token.is_unresolved(value):
            return value
        if not isinstance(value, str) or len(value) > longest:
            raise ValueError(rule)
        for mistake, advice in (mistakes or {}).items():
            if found := re.fullmatch(mistake, value):
                raise ValueError(found.expand(advice))
        if not compiled.fullmatch(value):
            raise ValueError(rule)
        return value

    return check


def optional(check: Callable[[Any], Any]) -> BeforeValidator:
    """Return a check that also takes None, and `-c key=`, which removes a setting on the command line."""
    return BeforeValidator(lambda value: None if value is None or value == "" else check(value))


def one_of(*choices: str) -> BeforeValidator:
    """Return a check for one of some words."""

    def check(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"must be {', '.join(choices[:-1])} or {choices[-1]}")
        return value

    return BeforeValidator(check)


def number(least: int, most: int | None = None, unit: str = "") -> Callable[[Any], int]:
    """Return a check for a whole number within bounds, as a number or as the text of the command line."""
    rule = f"must be a whole number{unit}, {least} or more" if most is None else f"must be {least} to {most}{unit}"

    def check(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least or (most and value > most):
            raise ValueError(rule)
        return value

    return check


def flag(value: Any) -> bool:
    """Return the truth of true or false, also as the text of the command line.

    Raises:
        ValueError: If it is neither.
    """
    flags = {"true": True, "false": False}
    name = str(value).lower()
    if name not in flags:
        raise ValueError("must be true or false")
    return flags[name]


def _certificate(value: Any) -> str:
    if isinstance(value, str) and Token.is_unresolved(value):
        return value
    match = _CERTIFICATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be the ARN of a certificate in ACM, such as arn:aws:acm:us-east-1:123456789012:…")
    # https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cnames-and-https-requirements.html
    if match[1] != "us-east-1":
        raise ValueError(
            f"must be of a certificate in us-east-1, where CloudFront reads certificates, and this one is in {match[1]}"
        )
    return str(value)


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


_Repository = Annotated[
    str,
    BeforeValidator(
        text(
            _REPOSITORY,
            "must be a repository name, a prefix such as 'team/*', or '*' for all repositories",
            _LONGEST_REPOSITORY,
            _REPOSITORY_MISTAKES,
        )
    ),
]
_PublicRepository = Annotated[
    str,
    BeforeValidator(
        text(
            rf"(?:[0-9]{{12}}/)?(?:{_REPOSITORY})",
            "must be a repository name or a prefix such as 'team/*', with or without an account in front",
            _LONGEST_REPOSITORY,
            _PUBLIC_REPOSITORY_MISTAKES,
        )
    ),
]
_PullThroughPrefix = Annotated[
    str,
    BeforeValidator(
        text(
            _PREFIX,
            "must be the prefix of a pull-through cache rule, such as 'docker-hub', or ROOT",
            30,
            _PREFIX_MISTAKES,
        )
    ),
]
_AccountId = Annotated[str, BeforeValidator(text("[0-9]{12}", "must be an AWS account id, twelve digits"))]
_Principal = Annotated[
    str,
    BeforeValidator(
        text(
            _PRINCIPAL,
            "must be an account id, the ARN of an IAM role or user, or an organisation id (o-…)",
            mistakes={"arn:.*/": "must not end with a slash"},
        )
    ),
]
_Origin = Annotated[
    str,
    BeforeValidator(text(_ORIGIN, "must be an origin such as https://example.com", _LONGEST_ORIGIN, _ORIGIN_MISTAKES)),
]
_EventSource = Annotated[
    str,
    BeforeValidator(
        text(
            r"(?!aws\.)[A-Za-z0-9._/-]{1,256}",
            "must be a source of events such as 'com.example.builds'; those that begin with 'aws.' are AWS's own",
        )
    ),
]
_HOST_RULE = "must be the name of a host in lower case, such as registry.example.com"
_Host = Annotated[str, BeforeValidator(text(_DOMAIN, _HOST_RULE, 253))]

_List = BeforeValidator(as_list)
Flag = Annotated[bool, BeforeValidator(flag)]
Repositories = Annotated[tuple[_Repository, ...], BeforeValidator(_repositories)]
PublicRepositories = Annotated[tuple[_PublicRepository, ...], _List]
PullThroughPrefixes = Annotated[tuple[_PullThroughPrefix, ...], _List]
AccountIds = Annotated[tuple[_AccountId, ...], _List]
Principals = Annotated[tuple[_Principal, ...], _List]
Origins = Annotated[tuple[_Origin, ...], BeforeValidator(_origins)]
EventSources = Annotated[tuple[_EventSource, ...], _List]
Hosts = Annotated[tuple[_Host, ...], _List]
DomainName = Annotated[str | None, optional(text(_DOMAIN, _HOST_RULE, 253, _DOMAIN_MISTAKES))]
CertificateArn = Annotated[str | None, optional(_certificate)]
HostedZoneId = Annotated[
    str | None,
    optional(text(r"Z[A-Z0-9]{1,31}", "must be the id of a hosted zone in Route 53, such as Z0123456789ABCDEFGHIJ")),
]
WebAclArn = Annotated[
    str | None,
    optional(
        text(_WEB_ACL, "must be the ARN of a web ACL for CloudFront: in us-east-1, and with global/webacl/ in it")
    ),
]
TokenStoreArn = Annotated[
    str | None,
    optional(text(_TOKEN_STORE, "must be the ARN of a KeyValueStore: arn:aws:cloudfront::<account>:key-value-store/…")),
]
EventBusName = Annotated[
    str | None,
    optional(
        text(
            r"(?!aws\.)[A-Za-z0-9._-]{1,256}",
            "must be the name of an event bus of this account: 1 to 256 letters, digits, '.', '-' and '_', not "
            "beginning with 'aws.', or 'default'",
        )
    ),
]
Email = Annotated[
    str | None,
    optional(
        text(
            _EMAIL,
            "must be an e-mail address",
            320,
            {r"(?i:mailto:)(.+)": r"must be the address alone; write \1"},
        )
    ),
]
StackName = Annotated[
    str,
    BeforeValidator(
        text(
            r"[A-Za-z][A-Za-z0-9-]{0,127}",
            "must be 1 to 128 letters, digits and '-', and begin with a letter",
            mistakes={"(?i:CDKToolkit)": "can't be CDKToolkit, the stack that `make bootstrap` creates"},
        )
    ),
]
