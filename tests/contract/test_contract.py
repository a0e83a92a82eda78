"""What the stack and the function have to agree on, compared; neither imports the other."""

import contextlib
import importlib
import json
import logging
import re
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import boto3
import botocore.session
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.stub import Stubber

from infra import contract
from infra.audit import QUERIES
from layer_resolver import callers, event_api, observability, pull_events
from layer_resolver.calls import Deadline
from layer_resolver.errors import ERROR_TABLE, Repository, ResolverError
from layer_resolver.handler import create_handler
from layer_resolver.invocation import Invocation
from layer_resolver.settings import Settings
from tests.contract.conftest import EDGE, EVERYTHING, STACK, Line, Written
from tests.infra.templates import only, resources, synth, variables
from tests.programs import run
from tests.unit.fakes import (
    Context,
    FakeEcr,
    digest,
    download_url,
    ecr_error,
    eventbridge_event,
    function_url_event,
    metrics_in,
)

Template = dict[str, Any]

DOCS = Path(__file__).parents[2] / "docs"

# Lambda's own fields of each line: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html
FIELDS_OF_LAMBDA = {"@timestamp", "@message"}


class Recording(Mapping[str, str]):
    """An environment that knows which of its variables were read."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self._environment[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment)

    def __len__(self) -> int:
        return len(self._environment)


PROGRAM = """
import logging, os
logging.getLogger().setLevel(os.environ["AWS_LAMBDA_LOG_LEVEL"])  # as Lambda's runtime does it
import layer_resolver.handler
from layer_resolver.observability import logger
libraries = ["botocore.auth", "botocore.endpoint", "boto3.resources", "urllib3.connectionpool"]
print(logger.log_level, *(logging.getLogger(name).getEffectiveLevel() for name in libraries))
"""


def log_levels(template: Template) -> list[int]:
    """Return the level of the function's logger, and of loggers of libraries, in the deployed function."""
    configuration = only(template, "AWS::Lambda::Function")["Properties"]["LoggingConfig"]
    # Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    of_lambda = {
        "AWS_LAMBDA_LOG_LEVEL": configuration["ApplicationLogLevel"],
        "AWS_LAMBDA_LOG_FORMAT": configuration["LogFormat"],
    }
    environment = {**variables(template), **of_lambda, "PYTHONPATH": "lambda_src"}
    output = run(sys.executable, "-W", "error", "-c", PROGRAM, **environment)
    return [int(number) for number in output.split()]


class TestTheFunction:
    def test_the_handler_is_there(self, template: Template) -> None:
        module, _, name = only(template, "AWS::Lambda::Function")["Properties"]["Handler"].rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))

    def test_everything_that_invokes_it_invokes_the_alias(self, template: Template) -> None:
        (alias,) = resources(template, "AWS::Lambda::Alias")
        name = only(template, "AWS::Lambda::Alias")["Properties"]["Name"]
        assert name == contract.ALIAS
        assert only(template, "AWS::Lambda::Url")["Properties"]["Qualifier"] == name
        assert only(template, "AWS::Lambda::EventInvokeConfig")["Properties"]["Qualifier"] == name
        for rule in resources(template, "AWS::Events::Rule").values():
            assert [target["Arn"] for target in rule["Properties"]["Targets"]] == [{"Ref": alias}]

    def test_the_rules_pass_on_the_events_that_it_answers_and_no_others(self, template: Template) -> None:
        patterns = [each["Properties"]["EventPattern"] for each in resources(template, "AWS::Events::Rule").values()]
        assert [pattern["detail-type"] for pattern in patterns] == [
            [event_api.REQUEST_DETAIL_TYPE],
            [event_api.PUSH_DETAIL_TYPE],
        ]


def permissions_of(template: Template) -> set[str]:
    """Return the permissions in ECR that the function's role has."""
    statements = [
        statement
        for role in resources(template, "AWS::IAM::Role").values()
        for policy in role["Properties"].get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    actions = [each["Action"] for each in statements]
    listed = [each if isinstance(each, list) else [each] for each in actions]
    return {name for names in listed for name in names if name.startswith("ecr:")}


class RecordingEcr:
    """Records which methods of a client are called."""

    def __init__(self, client: FakeEcr) -> None:
        self._client = client
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._client, name)


def called_methods() -> set[str]:
    """Return the methods of the ECR client that the routes and the events call."""
    ecr = RecordingEcr(FakeEcr(answer=ecr_error("LayersNotFoundException")))
    handler = create_handler(ecr, Settings(image_pull=True, list_tags=True))
    push = {"action-type": "PUSH", "result": "SUCCESS", "repository-name": "team/app", "image-digest": digest()}
    for event in (
        function_url_event("GET", "/images/config", {"repositoryName": "team/app", "imageTag": "latest"}),
        *(
            function_url_event("GET", f"/v2/team/app/{path}")
            for path in (f"blobs/{digest()}", "manifests/latest", "tags/list", f"referrers/{digest()}")
        ),
        eventbridge_event(push, event_api.PUSH_DETAIL_TYPE),
    ):
        with contextlib.suppress(ResolverError):
            handler(event, Context())
    return ecr.called


class TestPermissions:
    def test_the_function_may_call_each_action_of_its_client_and_has_no_other_permission(
        self, template: Template
    ) -> None:
        model, methods = botocore.session.get_session().get_service_model("ecr"), called_methods()
        called = [model.operation_model(name) for name in model.operation_names if xform_name(name) in methods]
        # The permission has the action's name, unless botocore's documentation names another.
        needed = {
            name
            for action in called
            for name in re.findall(r"must have the <code>(ecr:\w+)</code>", action.documentation)
            or [f"ecr:{action.name}"]
        }
        assert {"ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage", "ecr:ListImages"} == needed
        # ECR itself needs the last one, for the first pull through a cache.
        assert permissions_of(template) - {"ecr:BatchImportUpstreamImage"} == needed

    def test_by_default_the_function_may_call_one_action(self) -> None:
        assert permissions_of(synth()) == {"ecr:GetDownloadUrlForLayer"}


class TestEnvironment:
    def test_each_setting_reaches_the_function(self, template: Template) -> None:
        assert Settings.from_environment(variables(template)) == Settings(
            allowed_registries=("210987654321", "109876543210"),
            image_pull=True,
            list_tags=True,
            maximum_result_kilobytes=200,
            stack_name=STACK,
            pull_event_bus="default",
            download_url_hosts=("cache.example.com",),
        )

    def test_by_default_the_function_may_do_no_more_than_without_any_variable(self) -> None:
        settings = Settings.from_environment(variables(synth()))
        assert settings == Settings(stack_name="EcrLayerResolver", maximum_result_kilobytes=1024)

    def test_each_variable_that_the_stack_sets_is_read(self) -> None:
        edge = {contract.EDGE_DISTRIBUTION_ARN: EDGE, contract.EDGE_LAYERS_ORIGIN: "https://bucket.example.com"}
        environment = Recording(variables(synth(**EVERYTHING)) | edge)
        settings = Settings.from_environment(environment)
        assert settings.edge_distribution_arn == EDGE
        assert settings.edge_layers_origin == "https://bucket.example.com"
        assert set(environment) - environment.read == {contract.LOG_LEVEL, contract.USE_DUALSTACK_ENDPOINT}

    @pytest.mark.parametrize("level", ["DEBUG", "ERROR"])
    def test_each_log_level_is_the_functions_whatever_lambda_lets_pass(self, level: str) -> None:
        own, *libraries = log_levels(synth(logLevel=level))
        assert own == logging.getLevelNamesMapping()[level]
        # What botocore logs at DEBUG has credentials, and urllib3's warnings have download URLs.
        assert all(each >= logging.ERROR for each in libraries)

    def test_ipv6_leads_to_ecrs_dual_stack_endpoint(self, template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(contract.USE_DUALSTACK_ENDPOINT, variables(template)[contract.USE_DUALSTACK_ENDPOINT])
        client = boto3.client("ecr", region_name="us-east-1", config=Config(retries={"mode": "standard"}))
        assert client.meta.endpoint_url == "https://ecr.us-east-1.api.aws"


def metrics_of(lines: list[Line]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each metric that was written, with its dimensions."""
    for line in lines:
        assert {each["Namespace"] for each in line["_aws"]["CloudWatchMetrics"]} == {contract.NAMESPACE}
        for name, _, dimensions in metrics_in(line):
            yield name, dimensions


class TestMetrics:
    def test_every_alarm_watches_a_metric_that_the_function_writes(self, template: Template, written: Written) -> None:
        metrics = list(metrics_of(written.metrics))
        alarms = [each["Properties"] for each in resources(template, "AWS::CloudWatch::Alarm").values()]
        own = [alarm for alarm in alarms if alarm["Namespace"] == observability.NAMESPACE]
        assert len(own) == len(contract.OPERATORS_CODES) + len(contract.OPERATORS_CODES_BELOW_500) + 1
        for alarm in own:
            dimensions = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
            assert (alarm["MetricName"], dimensions) in metrics

    def test_the_dashboard_shows_every_metric_that_the_function_writes_and_no_other(
        self, template: Template, written: Written
    ) -> None:
        body = json.dumps(only(template, "AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"])
        text = body.replace("\\", "")
        dimensions = '"service","ecr-layer-resolver","stack","Contract"'
        plain = set(re.findall(rf'\["EcrLayerResolver","(\w+)",{re.escape(dimensions)}', text))
        searched = re.findall(r'\{EcrLayerResolver,([\w,]+)\} MetricName="(\w+)" stack="Contract"', text)
        in_dashboard = {name: {"service", "stack"} for name in plain} | {
            name: set(names.split(",")) for names, name in searched
        }
        written_metrics = {name: set(values) for name, values in metrics_of(written.metrics)}
        assert written_metrics.pop("ColdStart") == {"function_name", "service"}
        assert in_dashboard == written_metrics

    def test_the_codes_of_alarms_are_rows_of_the_error_table(self) -> None:
        status = {code: kind.http_status for code, kind in ERROR_TABLE.items()}
        assert set(contract.OPERATORS_CODES) <= status.keys()
        below = {code for code in contract.OPERATORS_CODES if status[code] < 500}
        assert set(contract.OPERATORS_CODES_BELOW_500) == below

    def test_metrics_have_no_level_so_that_lambda_takes_them_for_info(self, written: Written) -> None:
        assert written.metrics
        assert all("level" not in line for line in written.metrics)


def names_in(line: Line, prefix: str = "") -> Iterator[str]:
    """Give the names that Logs Insights has for the fields of a line."""
    for name, value in line.items():
        yield f"{prefix}{name}"
        inner = {str(index): each for index, each in enumerate(value)} if isinstance(value, list) else value
        if isinstance(inner, dict):
            yield from names_in(inner, f"{prefix}{name}.")


KEYWORDS = {
    "as", "and", "asc", "by", "coalesce", "count", "desc", "fields", "filter", "in", "into", "ispresent", "jsonParse",
    "like", "limit", "max", "now", "or", "sort", "stats", "sum", "toMillis", "unnest",
}  # fmt: skip


def fields_of(query: str) -> set[str]:
    """Return the fields that a query reads: its words, without keywords, texts, numbers, and names of its own."""
    text = re.sub(r'"[^"]*"', "", query)
    own = set(re.findall(r"\b(?:as|into) (\w+)", text))
    # What has been parsed of a line has the line's fields.
    text = re.sub(r"\bline\.", "", text)
    return set(re.findall(r"@?[a-zA-Z_][\w.]*", text)) - KEYWORDS - own


class TestSizes:
    """The document's numbers of layers, with download URLs as long as ECR's are."""

    REST: ClassVar = {"layerDigest": digest(), "expiresAt": "2026-11-23T11:00:00Z"}

    def resolve(self, kilobytes: int, layers: int) -> Any:
        handler = create_handler(
            FakeEcr(url_padding=2300 - len(json.dumps({"downloadUrl": download_url(digest()), **self.REST}))),
            Settings(maximum_result_kilobytes=kilobytes),
        )
        digests = [digest(number) for number in range(layers)]
        return handler(eventbridge_event({"repositoryName": "team/app", "layerDigests": digests}), Context())

    def test_as_many_layers_as_the_document_says_fit_into_a_result_and_not_many_more(self) -> None:
        rows = re.findall(r"^\| .* \| (\d+) \| (\d+) \|$", (DOCS / "events.md").read_text(), re.MULTILINE)
        assert rows == [("1024", "400"), ("256", "100")]
        for kilobytes, layers in rows:
            assert len(self.resolve(int(kilobytes), int(layers))["downloadUrls"]) == int(layers)
            with pytest.raises(ResolverError, match=rf"larger than {kilobytes} KB"):
                self.resolve(int(kilobytes), int(layers) * 6 // 5)


class TestAudit:
    @pytest.mark.parametrize("title", QUERIES)
    def test_a_query_reads_fields_and_compares_them_with_values_that_log_lines_have(
        self, title: str, written: Written
    ) -> None:
        query = QUERIES[title]
        fields = fields_of(query)
        assert fields
        assert fields - FIELDS_OF_LAMBDA <= {name for line in written.log for name in names_in(line)}
        compared = re.findall(r'(\w+) = "([^"]+)"', query)
        for name, values in re.findall(r'(\w+) in \[("[^]]+)\]', query):
            compared += [(name, value) for value in re.findall(r'"([^"]+)"', values)]
        codes = {failure["code"] for line in written.log for failure in line.get("failures", ())}
        for name, value in compared:
            assert value in {"REPLACE_ME", *codes} | {line.get(name) for line in written.log}

    def test_the_example_finds_layers_that_nobody_asked_for(
        self, written: Written, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        clients = {name: boto3.client(name, region_name="us-east-1") for name in ("ecr", "logs")}
        # The stubs hold parameters and answers against botocore's models.
        ecr, logs = Stubber(clients["ecr"]), Stubber(clients["logs"])
        for number, token in ((1, {"nextToken": "more"}), (3, {})):
            ecr.add_response("list_images", {"imageIds": [{"imageDigest": digest(number)}], **token})
            layers = [{"digest": digest(number)}, {"digest": digest(number + 1)}]
            manifests: list[dict[str, Any]] = [{"layers": layers}, {"manifests": []}]
            ecr.add_response("batch_get_image", {"images": [{"imageManifest": json.dumps(each)} for each in manifests]})
        logs.add_response("start_query", {"queryId": "1"})
        logs.add_response("get_query_results", {"status": "Running"})
        rows = [[{"field": "layerDigest", "value": digest(number)}] for number in (2, 9)]
        logs.add_response("get_query_results", {"status": "Complete", "results": rows})
        monkeypatch.setattr("boto3.client", clients.__getitem__)
        monkeypatch.setattr("time.sleep", lambda _: None)
        example = runpy.run_path("examples/unused_layers.py")
        with ecr, logs:
            example["main"]("team/app", "functions")
        assert capsys.readouterr().out.split() == [digest(1), digest(3), digest(4)]
        fields = fields_of(example["QUERY"])
        assert {"repositoryName", "layersResolved", "layerDigests"} <= fields
        assert fields - FIELDS_OF_LAMBDA <= {name for line in written.log for name in names_in(line)}

    def test_the_document_explains_fields_that_log_lines_have(self, written: Written) -> None:
        table = re.findall(r"^\| (`.*?) \| ", (DOCS / "audit.md").read_text(), re.MULTILINE)
        fields = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
        assert {"caller", "sourceIp", "layersFailed"} <= fields
        assert fields <= {name for line in written.log for name in line}

    def test_every_line_says_who_asked(self, written: Written) -> None:
        callers = {(line["trigger"], line["callerKind"], line["caller"], line.get("sourceIp")) for line in written.log}
        assert callers == {
            ("http", "iam", "arn:aws:iam::123456789012:user/builder", "203.0.113.7"),
            ("http", "token", "ci", "198.51.100.9"),
            ("eventbridge", "event", "123456789012", None),
        }


class TestCallers:
    def test_the_headers_of_the_edge_are_those_that_the_function_reads(self) -> None:
        names = ("TOKEN_HEADER", "RULE_HEADER", "TOKEN_ID_HEADER", "HOST_HEADER", "DISTRIBUTION_HEADER")
        assert [getattr(contract, name) for name in names] == [getattr(callers, name) for name in names]
        assert contract.VIEWER_ADDRESS_HEADER == callers.ADDRESS_HEADER

    def test_the_bucket_behind_the_edge_is_that_of_ecrs_download_urls(self) -> None:
        origin: Any = variables(synth(edge=True, edgeLayers=True))[contract.EDGE_LAYERS_ORIGIN]
        _, parts = origin["Fn::Join"]
        names = {"AWS::Region": "us-east-1", "AWS::URLSuffix": "amazonaws.com"}
        url = "".join(part if isinstance(part, str) else names[part["Ref"]] for part in parts)
        assert download_url(digest()).startswith(f"{url}/")

    def test_metrics_are_by_kind_of_caller_and_never_by_its_name(self, written: Written) -> None:
        kinds = {values["callerKind"] for _, values in metrics_of(written.metrics) if "callerKind" in values}
        assert kinds == {"iam", "token", "event"}
        names = {"arn:aws:iam::123456789012:user/builder", "ci", "198.51.100.9", "203.0.113.7"}
        assert not names & {str(value) for line in written.metrics for value in line.values()}


class TestPullEvents:
    def test_they_are_called_as_the_documents_and_the_stack_say(self) -> None:
        assert (pull_events.DETAIL_TYPE, pull_events.SOURCE) == (contract.PULL_DETAIL_TYPE, contract.PULL_SOURCE)
        document = (DOCS / "audit.md").read_text()
        (pattern,) = re.findall(r"```json\n(\{\n  \"source\".*?)```", document, re.DOTALL)
        assert json.loads(pattern) == {"source": [pull_events.SOURCE], "detail-type": [pull_events.DETAIL_TYPE]}

    def test_the_document_has_each_field_of_a_detail_and_no_other(self) -> None:
        (example,) = re.findall(r"```json\n(\{\n  \"requestId\".*?)```", (DOCS / "audit.md").read_text(), re.DOTALL)
        invocation = Invocation(Deadline.after(1), status=200, repository=Repository(repository_name="team/app"))
        invocation.image, invocation.image_digest, invocation.gives_image = "team/app latest", digest(), True
        detail = pull_events.detail_of(invocation)
        assert detail is not None
        assert json.loads(example).keys() == detail.keys()

    def test_no_rule_of_the_stack_takes_one_for_a_request(self, template: Template) -> None:
        for rule in resources(template, "AWS::Events::Rule").values():
            assert contract.PULL_DETAIL_TYPE not in rule["Properties"]["EventPattern"]["detail-type"]
