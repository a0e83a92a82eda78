"""The store of pull tokens when others write to it, when answers are lost, and when it fails."""

import importlib.util
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError

from ecr_layers.cli import main
from ecr_layers.errors import UsageError
from ecr_layers.ops.aws import one_line_errors
from ecr_layers.ops.pull_tokens import PullToken
from ecr_layers.ops.token_store import TokenStore
from local.key_value_store import KeyValueStore, StoreError
from local.server import running
from tests.client.key_value_store import UnreliableStore
from tests.client.operating import forget_credentials
from tests.loopback import resolve_localhost_names

NOW = datetime(2026, 11, 25, tzinfo=UTC)
TOKEN = PullToken("ci", ("team/*",), NOW + timedelta(days=1), NOW)
ARN = KeyValueStore.arn
ENDPOINT = "AWS_ENDPOINT_URL_CLOUDFRONT_KEYVALUESTORE"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[UnreliableStore]:
    store = UnreliableStore()
    with running(store.app(), host="localhost") as url:
        monkeypatch.setenv(ENDPOINT, url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        yield store


def test_a_change_by_somebody_else_in_between_overwrites_nothing(store: UnreliableStore) -> None:
    store.once_before("PutKey", lambda: store.put("other", "{}"))
    TokenStore.open(ARN).add(TOKEN, "password")
    assert store.snapshot().keys() == {"ci", "other"}
    assert store.calls.count("PutKey") == 2


def test_a_name_that_somebody_else_takes_in_between_is_theirs(store: UnreliableStore) -> None:
    store.once_before("PutKey", lambda: store.put("ci", "{}"))
    with pytest.raises(UsageError, match="The name ci is taken"):
        TokenStore.open(ARN).add(TOKEN, "password")
    assert store.snapshot() == {"ci": "{}"}


@pytest.mark.parametrize("operation", ["PutKey", "DeleteKey"])
def test_a_change_whose_answer_is_lost_is_done_once_and_well(store: UnreliableStore, operation: str) -> None:
    if operation == "DeleteKey":
        store.put("ci", "{}")

    def lose_first_answer(name: str) -> None:
        if name == operation:
            store.after = lambda _: None
            raise StoreError("InternalServerException")

    store.after = lose_first_answer
    tokens = TokenStore.open(ARN)
    if operation == "PutKey":
        tokens.add(TOKEN, "password")
        assert store.snapshot() == {"ci": TOKEN.value("password")}
    else:
        tokens.revoke("ci")
        assert not store.snapshot()


def test_a_store_that_others_change_all_the_time_is_given_up(store: UnreliableStore) -> None:
    def before(name: str) -> None:
        if name == "PutKey":
            store.put("other", str(len(store.calls)))

    store.before = before
    with pytest.raises(UsageError, match="nothing was written"):
        TokenStore.open(ARN).add(TOKEN, "password")
    assert store.snapshot().keys() == {"other"}


def test_a_token_that_somebody_else_revokes_in_between_is_revoked(store: UnreliableStore) -> None:
    store.put("ci", "{}")
    store.once_before("DeleteKey", lambda: store.delete("ci"))
    TokenStore.open(ARN).revoke("ci")
    assert not store.snapshot()


def test_every_page_is_listed(store: UnreliableStore) -> None:
    for number in range(101):
        store.put(f"{number:03}", "{}")
    assert [token.name for token in TokenStore.open(ARN).tokens()] == [f"{number:03}" for number in range(101)]
    assert store.calls == ["ListKeys"] * 3


def test_a_list_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    session = botocore.session.get_session()
    client = session.create_client("cloudfront-keyvaluestore", region_name="us-east-1")
    monkeypatch.setattr(client, "list_keys", lambda **_: {"Items": [], "NextToken": "again"})
    with pytest.raises(UsageError, match="list doesn't end"):
        TokenStore(ARN, client).tokens()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDeniedException", "AWS denied ListKeys to your credentials (AccessDeniedException)."),
        ("ResourceNotFoundException", f"There is no token store {ARN}."),
        ("ValidationException", "The token store answered ValidationException: The store answers ValidationException."),
        (
            "InternalServerException",
            "The token store answered InternalServerException: The store answers InternalServerException.",
        ),
    ],
)
def test_what_the_store_answers_is_one_line_with_status_2(
    store: UnreliableStore, code: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: str) -> None:
        raise StoreError(code)

    store.before = fail
    assert main(["token", "list", "--store", ARN]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"ecr-layers: {message}")
    assert (printed.out, printed.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("arguments", [["list"], ["revoke", "ci"]])
def test_a_store_that_can_not_be_reached_is_one_line_with_status_2(
    store: UnreliableStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://localhost:1")
    assert main(["token", *arguments, "--store", ARN]) == 2
    assert capsys.readouterr() == ("", "ecr-layers: The token store can't be reached: EndpointConnectionError.\n")


def test_a_store_that_does_not_say_whether_it_has_written_is_said_to(
    store: UnreliableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_answered = threading.Event()

    def wait(name: str) -> None:
        if name == "PutKey":
            is_answered.wait(20)

    store.after = wait
    config = Config(read_timeout=0.3, retries={"total_max_attempts": 1})
    resolve_localhost_names(monkeypatch)
    client = boto3.client("cloudfront-keyvaluestore", region_name="us-east-1", config=config)
    with pytest.raises(UsageError, match="didn't confirm the change of ci: ReadTimeoutError"):
        TokenStore(ARN, client).add(TOKEN, "password")
    is_answered.set()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AWS_PROFILE", "missing", "can't be used: The config profile (missing) could not be found"),
        ("AWS_ENDPOINT_URL_CLOUDFRONT_KEYVALUESTORE", "nowhere", "can't be used: "),
    ],
)
def test_a_configuration_that_can_not_be_used_is_one_line_with_status_2(
    store: UnreliableStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["token", "list", "--store", ARN]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_without_credentials_nothing_is_asked(
    store: UnreliableStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_credentials(monkeypatch)
    assert main(["token", "list", "--store", ARN]) == 2
    assert capsys.readouterr().err.startswith("ecr-layers: There are no AWS credentials.")
    assert not store.calls


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main(["token", "list", "--store", ARN]) == 2
    assert capsys.readouterr() == ("", "ecr-layers: Tokens need another package: pip install 'ecr-layers[ops]'\n")


@pytest.mark.parametrize(
    ("code", "message", "minutes", "expected"),
    [
        ("RequestTimeTooSkewed", "The difference is too large.", None, "Set this machine's clock."),
        ("InvalidSignatureException", "Signature expired: 2026 is now earlier than 2027", None, "machine's clock."),
        ("SignatureDoesNotMatch", "Signature not yet current: 2026", 20, "clock, which is 20 minutes fast."),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match", -90, "is 90 minutes slow."),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match", 0, "refused the credentials"),
        ("ExpiredTokenException", "The security token included in the request is expired", 0, "Renew them."),
    ],
)
def test_a_wrong_clock_is_called_a_wrong_clock(code: str, message: str, minutes: int | None, expected: str) -> None:
    date = format_datetime(datetime.now(UTC) - timedelta(minutes=minutes or 0), usegmt=True)
    metadata = {"HTTPHeaders": {} if minutes is None else {"date": date}}
    error = ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "ListKeys")  # type: ignore[typeddict-item]
    with pytest.raises(UsageError, match=expected), one_line_errors("The token store"):
        raise error


@pytest.mark.parametrize(
    ("reason", "clock"), [("certificate is not yet valid", True), ("self-signed certificate", False)]
)
def test_a_certificate_that_is_not_yet_valid_hints_at_the_clock(reason: str, *, clock: bool) -> None:
    error = SSLError(endpoint_url="https://localhost", error=OSError(f"[SSL] certificate verify failed: {reason}"))
    with pytest.raises(UsageError) as raised, one_line_errors("The token store"):
        raise error
    assert ("Check this machine's clock." in str(raised.value)) == clock
