"""The store of pull tokens when others write to it, when answers are lost, and when it fails."""

import importlib.util
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError

from ecr_layers.errors import UsageError
from ecr_layers.ops.aws import one_line_errors
from ecr_layers.ops.pull_tokens import PullToken
from ecr_layers.ops.token_store import TokenStore
from tests.client.commanding import command
from tests.client.key_value_store import UnreliableStore
from tests.client.operating import Operated, forget_credentials, token
from tests.loopback import resolve_localhost_names

__all__ = ["command", "token"]

NOW = datetime(2026, 11, 25, tzinfo=UTC)
TOKEN = PullToken("ci", ("team/*",), NOW + timedelta(days=1), NOW)
ARN = UnreliableStore.arn


@pytest.fixture
def store(token: Operated) -> UnreliableStore:
    return token.store


def test_what_somebody_else_does_in_between_stays(store: UnreliableStore) -> None:
    store.once_before("PutKey", lambda: store.put("other", "{}"))
    TokenStore.open(ARN).add(TOKEN, "password")
    assert store.snapshot().keys() == {"ci", "other"}
    assert store.calls.count("PutKey") == 2
    store.once_before("DeleteKey", lambda: store.delete("ci"))
    TokenStore.open(ARN).revoke("ci")
    assert store.snapshot().keys() == {"other"}
    store.once_before("PutKey", lambda: store.put("ci", "{}"))
    with pytest.raises(UsageError, match="The name ci is taken"):
        TokenStore.open(ARN).add(TOKEN, "password")
    assert store.snapshot() == {"ci": "{}", "other": "{}"}


def test_a_change_whose_answer_is_lost_is_done_once_and_well(store: UnreliableStore) -> None:
    store.lose_first_answer("PutKey")
    TokenStore.open(ARN).add(TOKEN, "password")
    assert store.snapshot() == {"ci": TOKEN.value("password")}
    store.lose_first_answer("DeleteKey")
    TokenStore.open(ARN).revoke("ci")
    assert not store.snapshot()


def test_a_store_that_others_change_all_the_time_is_given_up(store: UnreliableStore) -> None:
    def before(name: str) -> None:
        if name == "PutKey":
            store.put("other", str(len(store.calls)))

    store.before = before
    with pytest.raises(UsageError, match="nothing was written"):
        TokenStore.open(ARN).add(TOKEN, "password")
    assert store.snapshot().keys() == {"other"}


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
    ],
)
def test_what_the_store_answers_is_one_line_with_status_2(token: Operated, code: str, message: str) -> None:
    token.store.refuse(code)
    result = token("list")
    assert (result.status, result.output, result.error.count("\n")) == (2, "", 1)
    assert result.error.startswith(f"ecr-layers: {message}")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AWS_ENDPOINT_URL", "http://localhost:1", "The token store can't be reached: EndpointConnectionError."),
        ("AWS_ENDPOINT_URL", "nowhere", "can't be used: "),
        ("AWS_PROFILE", "missing", "can't be used: The config profile (missing) could not be found"),
    ],
)
def test_a_configuration_that_can_not_be_used_is_one_line_with_status_2(
    token: Operated, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    for arguments in (["list"], ["revoke", "ci"]):
        result = token(*arguments)
        assert (result.status, result.output, result.error.count("\n")) == (2, "", 1)
        assert message in result.error


def test_a_store_that_does_not_say_whether_it_has_written_is_said_to(
    store: UnreliableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_answered = threading.Event()

    def wait(name: str) -> None:
        if name == "PutKey":
            is_answered.wait(20)

    store.after = wait
    resolve_localhost_names(monkeypatch)
    config = Config(read_timeout=0.3, retries={"total_max_attempts": 1})
    client = boto3.client("cloudfront-keyvaluestore", region_name="us-east-1", config=config)
    with pytest.raises(UsageError, match="didn't confirm the change of ci: ReadTimeoutError"):
        TokenStore(ARN, client).add(TOKEN, "password")
    is_answered.set()


def test_without_credentials_nothing_is_asked(token: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_credentials(monkeypatch)
    result = token("list")
    assert (result.status, token.store.calls) == (2, [])
    assert result.error.startswith("ecr-layers: There are no AWS credentials.")


def test_a_missing_package_is_named(token: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    result = token("list")
    assert (result.status, result.output) == (2, "")
    assert result.error == "ecr-layers: Tokens need another package: pip install 'ecr-layers[ops]'\n"


def refused(code: str, message: str, minutes_ahead: int | None = 0) -> ClientError:
    """Return an error of AWS, whose clock is behind this machine's."""
    date = format_datetime(datetime.now(UTC) - timedelta(minutes=minutes_ahead or 0), usegmt=True)
    metadata: Any = {"HTTPHeaders": {} if minutes_ahead is None else {"date": date}}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "ListKeys")


def untrusted(reason: str) -> SSLError:
    return SSLError(endpoint_url="https://localhost", error=OSError(f"[SSL] certificate verify failed: {reason}"))


MISMATCH = ("SignatureDoesNotMatch", "The request signature we calculated does not match")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (lambda: refused("RequestTimeTooSkewed", "The difference is too large.", None), "Set this machine's clock."),
        (
            lambda: refused("SignatureDoesNotMatch", "Signature not yet current: 2026", 20),
            "clock, which is 20 minutes fast.",
        ),
        (lambda: refused(*MISMATCH, -90), "is 90 minutes slow."),
        (lambda: refused(*MISMATCH), "refused the credentials"),
        (lambda: refused("ExpiredTokenException", "The security token is expired"), "Renew them."),
        (lambda: untrusted("certificate is not yet valid"), "Check this machine's clock."),
        (lambda: untrusted("self-signed certificate"), r"can't be reached: SSLError\.$"),
    ],
)
def test_a_wrong_clock_is_called_a_wrong_clock(error: Callable[[], Exception], expected: str) -> None:
    with pytest.raises(UsageError, match=expected), one_line_errors("The token store"):
        raise error()
