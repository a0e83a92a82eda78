import json
import re
import tarfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import aws_cdk
import pytest
from botocore.session import get_session

from infra.options import SettingsError
from infra.regions import Region
from infra.settings import RETENTION, DeploymentSettings
from tests.infra.templates import settings_of


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"repositories": ["a/b", "a/b", "c/d"]}, "repositories", ("a/b", "c/d")),
        ({"repositories": ("a/b",)}, "repositories", ("a/b",)),
        ({"repositories": " a/b ,, c/d, "}, "repositories", ("a/b", "c/d")),
        ({"repositories": ' ["a/b", "c/d"]'}, "repositories", ("a/b", "c/d")),
        ({"memorySize": "1024"}, "memory_size", 1024),
        ({"snapStart": "false"}, "snap_start", False),
        ({"reservedConcurrency": ""}, "reserved_concurrency", None),
        ({"logRetentionDays": "7"}, "log_retention_days", 7),
        ({"eventSources": ""}, "event_sources", ()),
        ({"eventBusName": ""}, "event_bus_name", None),
    ],
)
def test_values_come_from_cdk_json_or_from_the_command_line(values: dict[str, Any], name: str, expected: Any) -> None:
    assert getattr(settings_of(values), name) == expected


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"repositories": ["UPPER"]}, "repositories[0]: must be a repository name, a prefix such as 'team/*'"),
        ({"repositories": ["team/app", "*app"]}, "repositories[1]: must be"),
        ({"allowedPrincipals": ["*"]}, "allowedPrincipals[0]: must be an account id"),
        ({"allowedOrigins": ["example.com"]}, "allowedOrigins[0]: must be an origin such as https://example.com"),
        ({"logLevel": "LOUD"}, "logLevel"),
        ({"authType": "NONE"}, "repositories must name what is public"),
        ({"authType": "NONE", "repositories": ["a/b"], "allowedPrincipals": ["123456789012"]}, "has no effect"),
        ({"logRetentionDays": "forever"}, "logRetentionDays: must be one of 1, 3, 5"),
        ({"createEventBus": True}, "createEventBus: is no longer a setting. The stack creates an event bus"),
        ({"pullThroughPrefixes": ["Docker"]}, "pullThroughPrefixes[0]: must be the prefix of a pull-through cache"),
        (
            {"pullThroughPrefixes": ["docker-hub"], "repositories": ["team/*"]},
            "pullThroughPrefixes has docker-hub, but repositories has none of docker-hub/*; add it",
        ),
        (
            {"pullThroughPrefixes": ["docker-hub"], "repositories": ["docker-hub/*"], "authType": "NONE"},
            "authType NONE would let everyone import images into your registry",
        ),
        ({"downloadUrlHosts": ["a/b"]}, "downloadUrlHosts[0]: must be the name of a host in lower case, such as"),
        ({"maximumResultKilobytes": 1025}, "maximumResultKilobytes: must be 16 to 1024 KB"),
        ({"allowedOrigins": [f"https://{number}.example" for number in range(101)]}, "must be 100 origins at most"),
        ({"registries": '["210987654321"'}, 'registries: must be a list, such as a,b or ["a","b"]'),
        (
            {"repositories": ["210987654321/team/app"], "registries": ["210987654321"]},
            "repositories has 210987654321/team/app; write team/app without the account",
        ),
        ({"edge": True, "timeoutSeconds": 60}, "timeoutSeconds must be 59 at most with edge, because CloudFront waits"),
        ({"Repositories": "a/b"}, "Repositories: is not a setting; did you mean repositories?"),
        ({"keep-logs": "true"}, "keep-logs: is not a setting; did you mean keepLogs?"),
        ({"alarmMail": "a@b.c"}, "alarmMail: is not a setting; did you mean alarmEmail?"),
    ],
)
def test_a_bad_value_is_named_with_what_it_has_to_be(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(values)
    assert str(caught.value).startswith("Invalid settings:\n")
    assert complaint in str(caught.value)


def test_what_cdk_itself_keeps_in_the_context_is_no_setting() -> None:
    context = {
        "@aws-cdk/core:enablePartitionLiterals": True,
        "@aws-cdk-containers/ecs-service-extensions:enableDefaultLogDriver": True,
        "aws:cdk:enable-path-metadata": True,
        "aws-cdk:enableDiffNoFail": True,
        "cdk-migrate": True,
        "acknowledged-issue-numbers": [1],
        "availability-zones:account=123456789012:region=us-east-1": ["us-east-1a"],
    }
    assert settings_of(context) == DeploymentSettings()


def test_no_message_is_in_pydantics_words() -> None:
    values = {name: {"no": "value"} for name in DeploymentSettings.names()}
    with pytest.raises(SettingsError) as caught:
        settings_of(values)
    problems = str(caught.value).splitlines()[1:]
    assert {re.split(r"[:.\[]", problem.strip())[0] for problem in problems} == set(values)
    assert all(re.search(r": must be |: must name ", problem) for problem in problems), problems
    assert not re.search(r"Input should|String should|pattern|\(type=", str(caught.value))


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        (Region.named(None), (True, True, 1024)),
        (Region.named("xx-new-1"), (True, True, 1024)),
        (Region.named("ap-southeast-6"), (False, True, 256)),
        (Region.named("us-gov-west-1"), (False, True, 256)),
        (Region.named("mx-central-1"), (True, True, 256)),
        (Region.named("eu-west-1", "http://localhost:4566"), (True, False, 1024)),
        (Region.named("eu-west-1", "https://vpce-1.lambda.eu-west-1.vpce.amazonaws.com"), (True, True, 1024)),
        (Region.named("eusc-de-east-1", "https://lambda.eusc-de-east-1.amazonaws.eu"), (False, True, 256)),
        (Region.named("eu-west-1", "https://amazonaws.com.example"), (True, False, 1024)),
    ],
)
def test_defaults_are_what_the_region_has(region: Region, expected: tuple[bool, bool, int]) -> None:
    settings = settings_of({}, region)
    assert (settings.snap_start, settings.saved_queries, settings.maximum_result_kilobytes) == expected


@pytest.mark.parametrize("region", ["us-gov-west-1", "ap-southeast-5", "mx-central-1"])
def test_where_eventbridge_has_not_been_raised_to_1_mb_results_are_not_either(region: str) -> None:
    with pytest.raises(SettingsError, match=f"maximumResultKilobytes: must be 256 at most in {region}, where events"):
        settings_of({"maximumResultKilobytes": 512}, Region.named(region))


def test_a_principal_of_another_partition_is_refused_as_lambda_would() -> None:
    role = "arn:aws:iam::123456789012:role/ci"
    with pytest.raises(
        SettingsError, match=r"allowedPrincipals\[1\]: must begin with arn:aws-us-gov: in us-gov-west-1"
    ):
        settings_of({"allowedPrincipals": ["123456789012", role]}, Region.named("us-gov-west-1"))
    for region in (Region(), Region.named("eu-west-1")):
        assert settings_of({"allowedPrincipals": [role]}, region).allowed_principals == (role,)


def test_the_retentions_are_those_that_cloudwatch_logs_names() -> None:
    days = get_session().get_service_model("logs").shape_for("Days")
    assert [int(number) for number in re.findall(r"\d+", days.documentation)] == list(RETENTION)


def test_the_documents_and_cdk_json_have_every_setting_and_no_other() -> None:
    root = Path(__file__).parents[2]
    names = DeploymentSettings.names()
    documented = re.findall(r"^\| `(\w+)` \|", (root / "docs" / "settings.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(names)
    context = json.loads((root / "cdk.json").read_text())["context"]
    assert settings_of(context) == DeploymentSettings()


def test_cdk_json_has_the_feature_flags_of_a_new_app_so_that_the_cli_asks_for_none() -> None:
    (library,) = (Path(aws_cdk.__file__).parent / "_jsii").glob("aws-cdk-lib@*.tgz")
    with tarfile.open(library) as archive:
        content = archive.extractfile("package/recommended-feature-flags.json")
        assert content is not None
        recommended = json.load(content)
    context = json.loads((Path(__file__).parents[2] / "cdk.json").read_text())["context"]
    assert {name: value for name, value in context.items() if name.startswith("@")} == recommended


ROLE = "arn:aws:iam::123456789012:role"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0-a_B"
DOMAIN = {"edge": True, "certificateArn": CERTIFICATE}
ZONE = {**DOMAIN, "domainName": "r.example.com"}
WEB_ACL = "arn:aws:wafv2:us-east-1:123456789012:global/webacl"
# Digits, but not ASCII ones.
ARABIC = "\u0663" * 12


@pytest.mark.parametrize(
    ("name", "right", "wrong", "others"),
    [
        (
            "allowedPrincipals",
            ["1" * 12, f"{ROLE}/a/b+c=d,e.f@g-h_i", ROLE.replace("role", "user/a"), "o-0a0a0a0a0a", f"o-{'0' * 32}"],
            ["1" * 11, "1" * 13, ARABIC, ROLE, f"{ROLE}/", f"arn:aws:iam::{ARABIC}:role/a", f"{ROLE}/a b",
             f"{ROLE}/*", "o-aaaaaaaaa", f"o-{'a' * 33}", "o-A"],
            {},
        ),
        (
            "allowedOrigins",
            ["*", "https://example.com", "http://localhost:8080", "https://a-1.example.com:65535", "http://a:443"],
            ["", f"https://a:{ARABIC}", "https://", "https://example.com/", "https://example.com:",
             "https://example.com:123456", "ftp://a.b",
             "https://a..b", "https://.a"],
            {},
        ),
        (
            "repositories",
            ["*", "ab", "a/b", "a.b_c__d-e--f/0", "team/*", "team*", "a*"],
            ["a", "A", f"a/{ARABIC}", "a//b", "/a", "a/", "a._b", "a___b", "*a", "a**", "-a*", "a b"],
            {},
        ),
        ("pullThroughPrefixes", ["ROOT", "ab/c", "a" * 30], ["root/", "ROOT/a", "a" * 31], {"repositories": ["*"]}),
        ("registries", ["0" * 12], ["0" * 11, "0" * 13, "x" * 12, ARABIC], {}),
        ("eventSources", ["a", "com.example/builds_1-2"], ["aws.", "aws.ecr", "a b", "ü"], {}),
        ("eventBusName", ["default", "a", "com.example-b_1", "awsome"], ["aws.events", "a/b", "a b"], {}),
        ("stackName", ["A", "a-1"], ["1a", "-a", "a_b", "a.b"], {}),
        ("alarmEmail", ["a@b.c", "a+b@x.example.com"], ["a@b", "@b.c", "a@.c", "a@b.", "a@b..c", "a b@c.d"], {}),
        (
            "domainName",
            ["a.bc", "r-1.example.com", f"{'a' * 63}.{'b' * 63}.com", f"a.{'b' * 63}"],
            ["-a.bc", "a-.bc", f"a{ARABIC}.bc", f"{'a' * 64}.com", "a..b", "a.1b", "a.b-", "a.b",
             ".".join(["a" * 63] * 4)],
            DOMAIN,
        ),
        (
            "downloadUrlHosts",
            ["s3.internal.example.com", f"bucket.vpce-0.s3.eu-west-1.{'a' * 63}.com", f"a.{'b' * 63}"],
            ["", "localhost", "UPPER.example.com", "https://a.example.com", "a.example.com:443", "*.example.com"],
            {},
        ),
        ("hostedZoneId", ["Z0", f"Z{'A9' * 15}Q"], ["Z", "z0", "A0", f"Z{'A' * 32}", "Z-0"], ZONE),
        (
            "webAclArn",
            [f"{WEB_ACL}/a-b_C/0-1"],
            [f"{WEB_ACL}/a", f"{WEB_ACL}/a/b/c", WEB_ACL.replace("us-east-1", "eu-west-1") + "/a/b"],
            {"edge": True},
        ),
        (
            "publicRepositories",
            ["team/*", "123456789012/team/app", "ab"],
            ["12345678901/TEAM", "A", "a"],
            {"edge": True, "registries": ["123456789012"]},
        ),
        ("edgeCacheSeconds", [0, "0", 1500, "1500"], [-1, 1501, "-1", "1.5", True, "1" * 10], {"edge": True}),
        ("reservedConcurrency", [0, "0", 1000, "999999999"], [-1, "x", True, 1.5], {}),
        ("memorySize", ["0512", 128, 10240], [127, 10241, 512.5, "", False, "1" * 10, ARABIC], {}),
        ("timeoutSeconds", [3, 900], [2, 901], {}),
        ("maximumResultKilobytes", [16, 1024], [15, 1025], {}),
        ("edgeTlsPolicy", ["TLSv1.2_2025", "TLSv1.3_2025"], ["TLSv1.2_2021"], ZONE),
        ("ipv6", [True, "True", "false", False], ["", "1", 1, "no"], {}),
    ],
)  # fmt: skip
def test_what_each_setting_can_be(name: str, right: list[Any], wrong: list[Any], others: dict[str, Any]) -> None:
    is_list = isinstance(DeploymentSettings().values()[name], list)
    for value in right:
        settings_of({**others, name: [value] if is_list else value})
    for value in wrong:
        with pytest.raises(SettingsError, match=name):
            settings_of({**others, name: [value] if is_list else value})


REGISTRY_HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("repositories", f"{REGISTRY_HOST}/team/app", "write team/app, and other accounts in registries"),
        ("repositories", "123456789012.dkr-ecr.us-east-1.on.aws/team/app", "write team/app, and"),
        ("repositories", "arn:aws:ecr:us-east-1:123456789012:repository/team/app", "write team/app, and"),
        ("repositories", REGISTRY_HOST, "must be a repository name, not a registry's"),
        ("publicRepositories", f"{REGISTRY_HOST}/team/app", "write team/app, or 123456789012/team/app for another"),
        ("allowedOrigins", "https://*.example.com", "must name one host, or be '*' alone"),
        ("allowedOrigins", "https://Example.com", "must be in lower case"),
        ("allowedOrigins", "https://example.com:443", "must not name the default port"),
        ("allowedOrigins", "https://example.com:65536", "must have a port of 1 to 65535"),
        ("allowedOrigins", "https://example.com:08080", "must have a port of 1 to 65535, without leading zeros"),
        ("allowedPrincipals", "arn:aws:iam::123456789012:role/ci/", "must not end with a slash"),
        ("pullThroughPrefixes", "root", "must be ROOT, in capitals"),
        ("stackName", "CDKToolkit", "can't be CDKToolkit"),
        ("domainName", "d111111abcdef8.cloudfront.net", "must be a domain of your own; remove it"),
        ("domainName", "abc.lambda-url.us-east-1.on.aws", "must be a domain of your own"),
        ("alarmEmail", "mailto:ops@example.com", "must be the address alone; write ops@example.com"),
        ("alarmEmail", "<ops@example.com>", "must be an e-mail address"),
    ],
)
def test_a_frequent_mistake_is_refused_with_the_right_value(name: str, value: str, complaint: str) -> None:
    place = f"{name}[0]" if isinstance(DeploymentSettings().values()[name], list) else name
    with pytest.raises(SettingsError, match=re.escape(f"  {place}: ")) as caught:
        settings_of({name: [value] if place != name else value, "edge": True})
    assert complaint in str(caught.value)


def test_problems_of_all_kinds_are_reported_together() -> None:
    values = {
        "repository": ["a/b"],
        "memorySize": 1,
        "registries": ["1"],
        "repositories": ["team/*"],
        "publicRepositories": ["web/app", "210987654321/team/app"],
        "pullThroughPrefixes": ["docker-hub"],
        "edgeLogs": True,
        "hostedZoneId": "Z0",
        "maximumResultKilobytes": 512,
    }
    with pytest.raises(SettingsError) as caught:
        settings_of(values, Region.named("mx-central-1"))
    *problems, last = str(caught.value).splitlines()[1:]
    assert last.startswith("  edgeLogs: must be false in mx-central-1, because CloudFront's logs can be set up in us-")
    assert problems == [
        "  repository: is not a setting; did you mean repositories?",
        "  registries[0]: must be an AWS account id, twelve digits",
        "  memorySize: must be 128 to 10240 MB",
        "  pullThroughPrefixes has docker-hub, but repositories has none of docker-hub/*; add it",
        "  publicRepositories has web/app, but repositories does not; add it",
        "  publicRepositories has no effect without edge; set edge to true, or remove publicRepositories",
        "  hostedZoneId has no effect without edge; set edge to true, or remove hostedZoneId",
        "  edgeLogs has no effect without edge; set edge to true, or remove edgeLogs",
        "  maximumResultKilobytes: must be 256 at most in mx-central-1, where events can't be larger",
    ]


def test_an_invalid_setting_conflicts_with_none() -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of({"authType": "NONE", "repositories": ["A"]})
    (problem,) = str(caught.value).splitlines()[1:]
    assert problem.startswith("  repositories[0]: must be")


OTHER_WEB_ACL = "arn:aws:wafv2:us-east-1:210987654321:global/webacl/a/b"


@pytest.mark.parametrize(
    ("account", "web_acl", "problems"),
    [
        (None, f"{WEB_ACL}/a/b", []),
        (None, OTHER_WEB_ACL, ["certificateArn and webAclArn must be in the same account, the stack's"]),
        ("123456789012", f"{WEB_ACL}/a/b", []),
        (
            "123456789012",
            OTHER_WEB_ACL,
            ["webAclArn: must be in the stack's account, 123456789012; this one is in 210987654321"],
        ),
        (
            "210987654321",
            OTHER_WEB_ACL,
            ["certificateArn: must be in the stack's account, 210987654321; this one is in 123456789012"],
        ),
    ],
)
def test_cloudfront_needs_certificate_and_web_acl_in_the_stacks_account(
    account: str | None, web_acl: str, problems: list[str]
) -> None:
    values = {**ZONE, "webAclArn": web_acl}
    with refused_unless(not problems, "".join(f"\n  {each}" for each in problems) + "$"):
        settings_of(values, account=account)


@pytest.mark.parametrize("value", [5, {"a": "b"}, True, '[{"a":', '{"a": "b"}'])
def test_what_is_no_list_is_refused(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"repositories(\[0\])?: must be"):
        settings_of({"repositories": value})


def refused_unless(is_right: bool, complaint: str) -> AbstractContextManager[object]:
    """Expect settings to be refused with a complaint, or else to be taken."""
    return nullcontext() if is_right else pytest.raises(SettingsError, match=complaint)


@pytest.mark.parametrize(
    ("repositories", "prefix", "overlaps"),
    [
        (["docker-hub/library/nginx"], "docker-hub", True),
        (["docker-hub/*"], "docker-hub", True),
        (["docker*"], "docker-hub", True),
        (["docker-hub/library/*"], "docker-hub", True),
        (["docker-hub"], "docker-hub", False),
        (["docker-hubs/*"], "docker-hub", False),
        (["team/*", "web/app"], "docker-hub", False),
    ],
)
def test_a_pull_through_cache_has_to_have_repositories(repositories: list[str], prefix: str, overlaps: bool) -> None:
    with refused_unless(overlaps, r"repositories has none of docker-hub/\*; add it"):
        settings_of({"repositories": repositories, "pullThroughPrefixes": [prefix]})


@pytest.mark.parametrize(
    ("repositories", "public", "covers"),
    [
        (["team/*"], "team/app", True),
        (["team/*"], "team/a*", True),
        (["te*"], "team/*", True),
        (["team/app"], "team/app", True),
        (["*"], "team/app", True),
        (["team/app"], "team/apps", False),
        (["team/app"], "team/app*", False),
        (["team/a*"], "team/*", False),
    ],
)
def test_what_is_public_has_to_be_among_the_repositories(repositories: list[str], public: str, covers: bool) -> None:
    with refused_unless(covers, "but repositories does not; add it"):
        settings_of({"edge": True, "repositories": repositories, "publicRepositories": [public]})
