"""The stack, deployed by the real CDK CLI to an AWS emulator, and used there.

The tests share one deployment, which none of them changes; those that deploy other settings have a stack of their own.
"""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from botocore.exceptions import ClientError

from infra.bundling import PACKAGES
from infra.package import Target, build_package
from local.aws import LocalAws, local_aws
from local.faults import Fault
from local.oci_layout import OciLayout
from tests.commands import ROOT, tool
from tests.e2e.asynchronous_lambda import asynchronous_lambda
from tests.e2e.emulator import ACCOUNT, REGION, STACK, Emulator, running_emulator, wait_until
from tests.unit.fakes import eventbridge_event

SOURCE = "ecr-layer-resolver.requests"
DETAIL_TYPE = "ECR Layer Download URL Request"


@pytest.fixture(scope="module")
def aws(sample: OciLayout) -> Iterator[LocalAws]:
    with local_aws({"team/app": sample}) as started:
        yield started


@pytest.fixture(scope="module")
def emulator(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator"), LOCAL_ECR_URL=aws.ecr_url) as started:
        started.bootstrap()
        yield started


@dataclass(frozen=True)
class Deployment:
    """The deployed stack's outputs, and the names of what it has."""

    url: str
    alias_arn: str
    function_name: str
    failure_queue_url: str
    bus: str

    @classmethod
    def of(cls, outputs: dict[str, str]) -> "Deployment":
        assert outputs["FunctionUrl"].endswith("/")
        assert outputs["AliasArn"] == f"{outputs['FunctionArn']}:live"
        return cls(
            url=outputs["FunctionUrl"].rstrip("/"),
            alias_arn=outputs["AliasArn"],
            function_name=outputs["FunctionArn"].rpartition(":")[2],
            failure_queue_url=outputs["FailureQueueUrl"],
            bus=outputs["EventBusName"],
        )


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Deployment:
    _, outputs = emulator.deploy()
    return Deployment.of(outputs)


@pytest.fixture(scope="module")
def digest(sample: OciLayout) -> str:
    return next(iter(sample.referenced_blobs))


def sha256_of(url: str) -> str:
    return f"sha256:{hashlib.sha256(httpx.get(url, trust_env=False).raise_for_status().content).hexdigest()}"


def test_only_signed_requests_reach_the_function(emulator: Emulator, deployed: Deployment) -> None:
    with emulator.http_client(signed=False) as client:
        assert client.get(f"{deployed.url}/healthz").status_code == 403
    with emulator.http_client() as client:
        assert client.get(f"{deployed.url}/healthz").json() == {"status": "ok"}


def test_a_layer_is_resolved_and_downloaded(emulator: Emulator, deployed: Deployment, digest: str) -> None:
    query = {"repositoryName": "team/app", "layerDigest": digest}
    with emulator.http_client() as client:
        answer = client.get(f"{deployed.url}/download-url", params=query)
    assert answer.status_code == 200, answer.text
    assert sha256_of(answer.json()["downloadUrl"]) == digest


def test_curl_signs_requests_as_api_md_says(emulator: Emulator, deployed: Deployment) -> None:
    tool("curl")
    (command,) = re.findall(r"^\$ (curl --aws-sigv4 .*)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    # The emulator speaks no TLS, and has the address of none of its function URLs.
    url = f"{deployed.url.replace('https:', 'http:')}/"
    port = urlsplit(emulator.endpoint).port
    result = subprocess.run(
        ["/bin/sh", "-c", f"{command} -s --connect-to ::localhost:{port}"],
        env=emulator.environment | {"URL": url, "AWS_SESSION_TOKEN": "", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert json.loads(result.stdout) == {"status": "ok"}


Put = Callable[[dict[str, Any]], str]


@pytest.fixture(scope="module")
def rule(emulator: Emulator, deployed: Deployment) -> str:
    (rule,) = emulator.client("events").list_rules(EventBusName=deployed.bus, NamePrefix=STACK)["Rules"]
    return str(rule["Name"])


@pytest.fixture(scope="class")
def log(emulator: Emulator, deployed: Deployment, rule: str) -> Iterator[list[str]]:
    package = build_package(Target.host(), PACKAGES).path
    with asynchronous_lambda(emulator, deployed.function_name, deployed.bus, rule, package) as lines:
        yield lines


@pytest.fixture
def put(emulator: Emulator, deployed: Deployment, aws: LocalAws, log: list[str]) -> Iterator[Put]:
    events = emulator.client("events")

    def put_event(detail: dict[str, Any]) -> str:
        entry = {
            "Source": SOURCE,
            "DetailType": DETAIL_TYPE,
            "Detail": json.dumps(detail),
            "EventBusName": deployed.bus,
        }
        (answer,) = events.put_events(Entries=[entry])["Entries"]
        return str(answer["EventId"])

    log.clear()
    yield put_event
    aws.ecr.faults.put()


@pytest.fixture(scope="class")
def next_result(emulator: Emulator, deployed: Deployment) -> Iterator[Callable[[], dict[str, Any]]]:
    """Subscribe a queue to results, as docs/events.md says, and return what receives the next."""
    events, sqs = emulator.client("events"), emulator.client("sqs")
    url = sqs.create_queue(QueueName="results")["QueueUrl"]
    pattern = documented("json", "functionArn").replace("FUNCTION_ARN", "arn:aws:lambda:")
    rule, queue = {"EventBusName": deployed.bus}, f"arn:aws:sqs:{REGION}:{ACCOUNT}:results"
    events.put_rule(Name="results", EventPattern=pattern, **rule)
    events.put_targets(Rule="results", Targets=[{"Id": "queue", "Arn": queue}], **rule)
    yield lambda: receive(sqs, url)
    events.remove_targets(Rule="results", Ids=["queue"], **rule)
    events.delete_rule(Name="results", **rule)


class TestEvents:
    def test_a_request_becomes_a_result_on_the_bus_with_working_urls(
        self, put: Put, next_result: Callable[[], dict[str, Any]], sample: OciLayout, log: list[str]
    ) -> None:
        digests = list(sample.referenced_blobs)
        event_id = put({"repositoryName": "team/app", "layerDigests": digests})
        record = next_result()["detail"]
        result = record["responsePayload"]
        assert result["requestId"] == event_id == record["requestPayload"]["id"]
        assert result["failures"] == []
        assert [url["layerDigest"] for url in result["downloadUrls"]] == digests
        for url in result["downloadUrls"]:
            assert sha256_of(url["downloadUrl"]) == url["layerDigest"]
        assert any(f'"correlation_id":"{event_id}"' in line for line in log)
        assert not any("X-Amz-Signature" in line for line in log)

    def test_ecr_that_throttles_for_a_while_delays_the_result(
        self, put: Put, next_result: Callable[[], dict[str, Any]], aws: LocalAws
    ) -> None:
        absent = f"sha256:{'1' * 64}"
        # The SDK tries three times with each invocation.
        aws.ecr.faults.put(Fault(error="ThrottlingException", layer_digest=absent, times=4))
        put({"repositoryName": "team/app", "layerDigests": [absent]})
        record = next_result()["detail"]
        assert record["requestContext"]["approximateInvokeCount"] == 2
        assert [each["code"] for each in record["responsePayload"]["failures"]] == ["LayersNotFoundException"]

    @pytest.mark.parametrize(
        ("detail", "message"),
        [
            ({"repositoryName": "team/app", "layerDigests": ["nonsense"]}, r"layerDigests\[0\] must be"),
            ({"repositoryName": "team/app", "layerDigests": [f"sha256:{'2' * 64}"]}, "ECR is throttling"),
        ],
        ids=["malformed", "throttled for good"],
    )
    def test_what_fails_three_times_is_in_the_queue_as_it_came(
        self, put: Put, emulator: Emulator, deployed: Deployment, aws: LocalAws, detail: dict[str, Any], message: str
    ) -> None:
        aws.ecr.faults.put(Fault(error="ThrottlingException", times=50))
        event_id = put(detail)
        record = receive(emulator.client("sqs"), deployed.failure_queue_url)
        assert record["requestPayload"]["id"] == event_id
        assert record["requestPayload"]["detail"] == detail
        assert record["requestContext"]["condition"] == "RetriesExhausted"
        assert record["requestContext"]["approximateInvokeCount"] == 3
        assert re.search(message, record["responsePayload"]["errorMessage"])


def documented(language: str, content: str) -> str:
    """Return the example of docs/events.md that has some content."""
    examples = re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / "docs" / "events.md").read_text(), re.DOTALL | re.MULTILINE
    )
    (example,) = [example for example in examples if content in example]
    return str(example)


def test_the_documented_state_machine_resolves_layers(emulator: Emulator, deployed: Deployment, digest: str) -> None:
    machines = emulator.client("stepfunctions")
    definition = documented("json", "StartAt").replace("ALIAS_ARN", deployed.alias_arn)
    role = f"arn:aws:iam::{ACCOUNT}:role/any"
    machine = machines.create_state_machine(name="resolve", definition=definition, roleArn=role)["stateMachineArn"]
    request = json.dumps({"repositoryName": "team/app", "layerDigests": [digest]})
    execution = machines.start_execution(stateMachineArn=machine, input=request)["executionArn"]

    def ended() -> Any:
        description = machines.describe_execution(executionArn=execution)
        return description if description["status"] != "RUNNING" else None

    description = wait_until(ended)
    assert description["status"] == "SUCCEEDED", description
    (url,) = json.loads(description["output"])["downloadUrls"]
    assert sha256_of(url["downloadUrl"]) == digest


def test_the_documented_program_sends_the_events_of_the_queue_again(
    emulator: Emulator, deployed: Deployment, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = emulator.client("sqs")
    event = eventbridge_event({"repositoryName": "team/app", "layerDigests": [f"sha256:{'3' * 64}"]})
    other = eventbridge_event({"repositoryName": "team/app", "layerDigests": [f"sha256:{'4' * 64}"]})
    for body in ({"requestPayload": event, "responsePayload": {}}, other):
        sqs.send_message(QueueUrl=deployed.failure_queue_url, MessageBody=json.dumps(body))
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, emulator.environment[name])
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    aws.ecr.calls.clear()
    program = documented("python", "receive_message")
    exec(program, {"QUEUE_URL": deployed.failure_queue_url, "ALIAS_ARN": deployed.alias_arn})
    wait_until(lambda: len(aws.ecr.calls) == 2)
    assert {call["parameters"]["layerDigest"][7] for call in aws.ecr.calls} == {"3", "4"}
    assert "Messages" not in sqs.receive_message(QueueUrl=deployed.failure_queue_url, WaitTimeSeconds=1)


def receive(sqs: Any, url: str) -> dict[str, Any]:
    """Return the next message of a queue, which has to be JSON."""
    (message,) = wait_until(lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages"))
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    content: dict[str, Any] = json.loads(message["Body"])
    return content


NOISE = ("ewer version", "feature flag", "program.js", "NOTICES", "deprecated")


def test_a_deployment_without_a_change_says_what_an_operator_needs_to_know_and_no_more(
    emulator: Emulator, deployed: Deployment
) -> None:
    printed, outputs = emulator.deploy_again()
    assert Deployment.of(outputs) == deployed
    assert "no changes" in printed
    assert "The setting repositories has '*'" in printed
    assert [noise for noise in NOISE if noise in printed] == []


@pytest.mark.usefixtures("deployed")
def test_what_a_deployment_would_change_is_shown_setting_by_setting(emulator: Emulator) -> None:
    printed = emulator.diff(memorySize="1024", imagePull="true")
    changed = re.findall(r"\[~\] Metadata (\w+): (\w+) to (\w+)", re.sub(r"\x1b\[[0-9;]*m", "", printed))
    assert sorted(changed) == [("imagePull", "false", "true"), ("memorySize", "512", "1024")]
    assert "ecr:BatchGetImage" in printed
    assert [noise for noise in NOISE if noise in printed] == []


def test_settings_are_deployed_one_after_another_and_nothing_is_left_in_the_end(
    emulator: Emulator, sample: OciLayout
) -> None:
    name = "Another"
    functions, events = emulator.client("lambda"), emulator.client("events")

    _, outputs = emulator.deploy(name, repositories="team/*", eventSources="com.example.builds", keepLogs="false")
    first = Deployment.of(outputs)
    query = {"repositoryName": "team/app", "imageTag": "latest"}
    with emulator.http_client() as client:
        assert client.get(f"{first.url}/images/download-urls", params=query).status_code == 403

    printed, outputs = emulator.deploy(
        name, repositories="team/*", imagePull="true", keepVersions="true", eventBusName="default", pullEvents="true"
    )
    assert "  imagePull = true\n" in printed
    assert Deployment.of(outputs).bus == "default"
    assert Deployment.of(outputs).url == first.url
    with next_pull(emulator) as receive_pull, emulator.http_client() as client:
        image = client.get(f"{first.url}/images/download-urls", params=query).raise_for_status().json()
        check_pull(receive_pull(), image)
    assert image["imageManifest"].encode() == sample.manifests[sample.tags["latest"]].content
    for url in image["downloadUrls"]:
        assert sha256_of(url["downloadUrl"]) == url["layerDigest"]
    assert len(events.list_rules(NamePrefix=name)["Rules"]) == 2

    _, outputs = emulator.deploy(name, repositories="team/app", memorySize="1024", eventSources="", logLevel="DEBUG")
    last = Deployment.of(outputs)
    configuration = functions.get_function_configuration(FunctionName=last.function_name)
    variables = configuration["Environment"]["Variables"]
    assert configuration["MemorySize"] == 1024
    assert variables["POWERTOOLS_LOG_LEVEL"] == "DEBUG"
    assert "IMAGE_PULL" not in variables
    assert events.list_rules(NamePrefix=name)["Rules"] == []
    assert events.list_rules(EventBusName=last.bus)["Rules"] == []
    with emulator.http_client() as client:
        assert client.get(f"{first.url}/images/download-urls", params=query).status_code == 403

    check_way_back(emulator, last, query)
    emulator.destroy(name)
    check_nothing_is_left(emulator, name, configuration, last)


@contextmanager
def next_pull(emulator: Emulator) -> Iterator[Callable[[], dict[str, Any]]]:
    """Subscribe a queue to the events about pulls, by the pattern in docs/audit.md, and give what receives the next."""
    events, sqs = emulator.client("events"), emulator.client("sqs")
    url = sqs.create_queue(QueueName="pulls")["QueueUrl"]
    (pattern,) = re.findall(r"```json\n(\{\n  \"source\".*?)```", (ROOT / "docs" / "audit.md").read_text(), re.DOTALL)
    events.put_rule(Name="pulls", EventPattern=pattern)
    events.put_targets(Rule="pulls", Targets=[{"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:pulls"}])
    yield lambda: receive(sqs, url)
    events.remove_targets(Rule="pulls", Ids=["queue"])
    events.delete_rule(Name="pulls")


def check_pull(event: dict[str, Any], image: dict[str, Any]) -> None:
    """Check that an event says who got an image, and has no URL."""
    detail = event["detail"]
    assert (event["source"], detail["repositoryName"], detail["imageReference"]) == (
        "ecr-layer-resolver",
        "team/app",
        "latest",
    )
    assert detail["imageDigest"] == image["imageDigest"]
    assert detail["layerDigests"] == [url["layerDigest"] for url in image["downloadUrls"]]
    assert "X-Amz" not in json.dumps(event)


def check_way_back(emulator: Emulator, deployment: Deployment, query: dict[str, str]) -> None:
    """Check that the alias goes back to the version before, which had imagePull, as docs/operations.md says."""
    functions = emulator.client("lambda")
    versions = functions.list_versions_by_function(FunctionName=deployment.function_name)["Versions"]
    numbers = sorted(int(version["Version"]) for version in versions if version["Version"] != "$LATEST")
    # That of the first deployment was not kept.
    assert len(numbers) == 2
    functions.update_alias(FunctionName=deployment.function_name, Name="live", FunctionVersion=str(numbers[0]))
    with emulator.http_client() as client:
        assert client.get(f"{deployment.url}/images/download-urls", params=query).status_code == 200
    functions.update_alias(FunctionName=deployment.function_name, Name="live", FunctionVersion=str(numbers[1]))
    functions.delete_function(FunctionName=deployment.function_name, Qualifier=str(numbers[0]))


def check_nothing_is_left(emulator: Emulator, name: str, configuration: dict[str, Any], deployment: Deployment) -> None:
    """Check that nothing of a stack is there any more; another one may be."""
    with pytest.raises(ClientError, match="ResourceNotFound"):
        emulator.client("lambda").get_function(FunctionName=deployment.function_name)
    with pytest.raises(ClientError, match="NoSuchEntity"):
        emulator.client("iam").get_role(RoleName=configuration["Role"].rpartition("/")[2])
    log_group = configuration["LoggingConfig"]["LogGroup"]
    assert emulator.client("logs").describe_log_groups(logGroupNamePrefix=log_group)["logGroups"] == []
    topics = emulator.client("sns").list_topics()["Topics"]
    assert [topic for topic in topics if f":{name}" in topic["TopicArn"]] == []
    assert deployment.failure_queue_url not in emulator.client("sqs").list_queues().get("QueueUrls", [])
    buses = emulator.client("events").list_event_buses()["EventBuses"]
    assert deployment.bus not in [bus["Name"] for bus in buses]
    assert emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix=name)["MetricAlarms"] == []
    assert emulator.client("cloudwatch").list_dashboards(DashboardNamePrefix=name)["DashboardEntries"] == []
