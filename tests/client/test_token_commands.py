"""`ecr-layers token`: passwords, rotation, pauses, export and import, and what the log says of tokens."""

import csv
import hashlib
import json
import signal
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ecr_layers.cli import output
from ecr_layers.cli.output import ReaderGoneError
from ecr_layers.cli.signals import Stopped
from ecr_layers.errors import UsageError
from ecr_layers.ops.token_usage import find_usage
from local.operator_api import LOG_GROUP
from local.server import running
from tests.client.commanding import Command, command
from tests.client.operating import Operated, lead_to, token

__all__ = ["command", "token"]

SHA256 = hashlib.sha256(b"password").hexdigest()
FUTURE = "2999-01-01T00:00:00Z"
ENTRY = {"sha256": SHA256, "repositories": ["team/*"], "notAfter": FUTURE, "created": "2026-11-25T12:00:00Z"}
PREVIOUS = {"sha256": "1" * 64, "notAfter": FUTURE}
CREATE = ("create", "ci", "--repositories", "team/*")


def put(token: Operated, name: str, **changes: Any) -> None:
    token.store.put(name, json.dumps({**ENTRY, **changes}))


def hash_in(path: Path) -> str:
    return hashlib.sha256(path.read_text().strip().partition(":")[2].encode()).hexdigest()


def test_a_token_goes_to_a_file_that_only_its_owner_can_read(token: Operated, tmp_path: Path) -> None:
    file = tmp_path / "ci.token"
    file.write_text("another's")
    file.chmod(0o644)
    result = token(*CREATE, "-o", str(file))
    assert (result.status, file.read_text(), token.store.calls) == (2, "another's", [])
    assert result.error == f"ecr-layers: {file} exists. Choose another name, or use --overwrite.\n"
    result = token(*CREATE, "--note", "for Frankfurt", "-o", str(file), "--overwrite")
    assert (result.status, result.output) == (0, "")
    assert f"{file} has the token" in result.error
    assert "docker login --username ci registry.example.com" in result.error
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token.entries["ci"]["sha256"] == hash_in(file)
    assert token.entries["ci"]["note"] == "for Frankfurt"
    assert file.read_text().partition(":")[2].strip() not in result.error
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (CREATE, "missing/ci.token"),
        (CREATE, "."),
        (("create", "ci", "--repositories", "other/*"), "ci.token"),
        (("rotate", "ci"), "ci.token"),
    ],
)
def test_without_a_token_there_is_no_file_and_without_a_file_no_token(
    token: Operated, tmp_path: Path, arguments: tuple[str, ...], name: str
) -> None:
    result = token(*arguments, "-o", str(tmp_path / name))
    assert result.status in {2, 4}
    assert result.error.count("\n") == 1
    assert "PutKey" not in token.store.calls
    assert list(tmp_path.iterdir()) == []


def test_a_password_that_is_not_written_counts_for_nothing(token: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    put(token, "old", previous=PREVIOUS)
    before = token.store.snapshot()
    for error, status in ((ReaderGoneError(), 4), (Stopped(signal.SIGINT), 130)):
        monkeypatch.setattr(output, "write_line", Mock(side_effect=error))
        for arguments in (CREATE, ("rotate", "old", "--json")):
            result = token(*arguments)
            assert result.status == status
            assert ("The password couldn't be written, so" in result.error) == (status == 4)
            assert token.store.snapshot() == before


def test_what_can_not_be_undone_is_said(token: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        token.store.refuse("AccessDeniedException")
        raise ReaderGoneError

    monkeypatch.setattr(output, "write_line", fail)
    result = token(*CREATE)
    assert result.status == 4
    assert "revoke ci, because that failed: AWS denied" in result.error


def test_a_rotated_token_keeps_its_old_password_for_a_while(token: Operated, tmp_path: Path) -> None:
    put(token, "ci", note="kept", paused=False)
    file = tmp_path / "new.token"
    before = datetime.now(UTC)
    assert token("rotate", "ci", "--keep-old", "2h", "-o", str(file)).status == 0
    changed = token.entries["ci"]
    assert changed.pop("sha256") == hash_in(file)
    previous = changed.pop("previous")
    assert previous["sha256"] == SHA256
    until = datetime.fromisoformat(previous["notAfter"]) - before
    assert timedelta(hours=2, seconds=-5) < until < timedelta(hours=2, minutes=1)
    kept = {name: each for name, each in ENTRY.items() if name != "sha256"}
    assert changed == {**kept, "note": "kept", "paused": False}
    assert "valid, old password until" in token("list").output


def test_an_old_password_can_end_at_once_and_never_outlives_its_token_which_can_live_again(token: Operated) -> None:
    put(token, "ci", previous=PREVIOUS)
    assert token("rotate", "ci", "--keep-old", "0").status == 0
    assert "previous" not in token.entries["ci"]
    soon = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    put(token, "ci", notAfter=soon)
    assert token("rotate", "ci", "--keep-old", "999999d", "--days", "30").status == 0
    assert token.entries["ci"]["previous"]["notAfter"] == soon
    assert token.entries["ci"]["notAfter"] > soon
    put(token, "ci", notAfter="2020-01-01T00:00:00Z")
    assert token("rotate", "ci", "--not-after", "2999-01-01").status == 0
    assert token.entries["ci"]["notAfter"] == "2999-01-01T23:59:59Z"
    assert "previous" not in token.entries["ci"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"notAfter": "2020-01-01T00:00:00Z"}, "The token has expired. Give it a new date"),
        ({"sha256": "?"}, "The token's entry in the store is broken."),
        ({"note": "x" * 750}, "Rotate it with --keep-old 0."),
    ],
)
def test_a_token_that_can_not_be_rotated_stays_as_it_is(token: Operated, changes: dict[str, Any], message: str) -> None:
    put(token, "ci", **changes)
    before = token.store.snapshot()
    result = token("rotate", "ci")
    assert (result.status, result.output, token.store.snapshot()) == (2, "", before)
    assert message in result.error


def test_a_paused_token_is_the_same_when_it_is_resumed(token: Operated) -> None:
    put(token, "ci", unknown={"kept": 1})
    for _ in range(2):
        assert token("pause", "ci").output == "Paused ci. Takes effect within seconds.\n"
        assert token.entries["ci"] == {**ENTRY, "unknown": {"kept": 1}, "paused": True}
    assert "paused" in token("list").output
    for _ in range(2):
        assert token("resume", "ci").output == "Resumed ci. Takes effect within seconds.\n"
        assert token.entries["ci"] == {**ENTRY, "unknown": {"kept": 1}}
    assert token.store.calls.count("PutKey") == 2


def test_a_token_of_the_longest_scope_can_be_rotated_and_paused(token: Operated) -> None:
    scope = [f"team/{number:0>55}" for number in range(10)]
    dates = ("--not-before", "2998-12-31", "--not-after", "2999-01-01")
    assert token("create", "ci", "--repositories", *scope, *dates).status == 0
    assert " ".join(scope) in token("list").output
    assert token("rotate", "ci").status == 0
    assert token("pause", "ci").status == 0
    assert token.entries["ci"]["paused"] is True


def test_a_key_that_begins_with_an_underscore_is_no_token(token: Operated) -> None:
    put(token, "_signing")
    before = token.store.snapshot()
    for action in ("pause", "resume", "rotate", "revoke"):
        result = token(action, "_signing")
        assert result.status == 2
        assert "'_signing' isn't a pull token." in result.error
    assert token("list").output == "There are no tokens.\n"
    assert json.loads(token("export").output) == {"tokens": {}}
    assert token.store.snapshot() == before


def test_a_backup_has_hashes_and_brings_all_tokens_back(token: Operated, tmp_path: Path) -> None:
    for number in range(101):
        put(token, f"ci-{number:03}", note="naïve")
    put(token, "rotated", paused=True, notBefore="2026-01-01", previous=PREVIOUS)
    before = token.store.snapshot()
    token.store.put("broken", "{")
    file = tmp_path / "tokens.json"
    assert token("export", "-o", str(file)).error == (
        "Exported 102 tokens.\necr-layers: note: left broken out; its entry in the store is broken.\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for name in token.store.snapshot():
        token.store.delete(name)
    token.store.put("rotated", before["rotated"])
    assert token("import", str(file)).output == "Imported 101 tokens. 1 already there.\n"
    assert token.entries == {name: json.loads(value) for name, value in before.items()}
    assert token.store.calls.count("UpdateKeys") == 3
    assert token("import", str(file)).output == "Imported 0 tokens. 102 already there.\n"


def exported(tmp_path: Path, exported_entries: Mapping[str, Any]) -> str:
    """Write a file as `ecr-layers token export` does, and return its name."""
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"tokens": exported_entries}))
    return str(file)


def test_an_import_overwrites_nothing_unless_that_is_asked_for(token: Operated, tmp_path: Path) -> None:
    put(token, "ci", note="here")
    file = exported(tmp_path, {"ci": ENTRY, "new": ENTRY})
    before = token.store.snapshot()
    result = token("import", file)
    assert (result.status, token.store.snapshot()) == (2, before)
    assert "The store has other tokens of these names: ci. Nothing was written. Use --overwrite" in result.error
    assert token("import", file, "--overwrite").status == 0
    assert token.entries == {"ci": ENTRY, "new": ENTRY}
    put(token, "ci", note="here")
    token.store.once_before("UpdateKeys", lambda: put(token, "ci", note="theirs"))
    result = token("import", file, "--overwrite")
    assert (result.status, token.entries["ci"]["note"]) == (2, "theirs")
    assert "Someone else changed ci meanwhile." in result.error


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ci", {"repositories": ["other/*"]}, "The scope 'other/*' exceeds the deployment's repositories"),
        ("ci", {"repositories": []}, "The entry of ci isn't one that"),
        ("ci", {"sha256": "short"}, "The entry of ci isn't one that"),
        ("ci", {"notBefore": "soon"}, "The entry of ci isn't one that"),
        ("ci", {"password": "x"}, "The entry of ci isn't one that"),
        ("ci", {"note": "\x1b[2J"}, "The note has control characters."),
        ("ci", {"note": "x" * 1000}, "The scope is too long"),
        ("_signing", {}, "isn't a valid token name"),
        ("c\u202ei", {}, "'c\\u202ei' isn't a valid token name"),
    ],
)
def test_an_import_is_checked_before_anything_is_written(
    token: Operated, tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    result = token("import", exported(tmp_path, {"first": ENTRY, name: {**ENTRY, **changes}}))
    assert (result.status, result.output, result.error.count("\n")) == (2, "", 1)
    assert message in result.error
    assert token.store.snapshot() == {}


@pytest.mark.parametrize("content", [b"{", b'{"tokens": []}', b"\xff", b'{"tokens": {"ci": 1}}', b"[" * 99999])
def test_a_file_that_was_not_exported_is_one_line(token: Operated, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tokens.json"
    file.write_bytes(content)
    result = token("import", str(file))
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert "isn't " in result.error


def test_a_token_can_begin_later_and_says_so(token: Operated) -> None:
    assert token(*CREATE, "--not-before", "2998-01-01", "--not-after", "2998-06-30").status == 0
    assert token.entries["ci"]["notBefore"] == "2998-01-01T00:00:00Z"
    assert "valid from 2998-01-01 00:00" in token("list").output
    (listed,) = json.loads(token("list", "--json").output)
    assert (listed["state"], listed["notBefore"]) == ("not yet valid", "2998-01-01T00:00:00Z")


def test_no_entry_breaks_the_list_or_the_terminal(token: Operated) -> None:
    put(token, "a\x1b[2J\u202e", note="\u2066\ud800\x9b", repositories=["\u7f51/\x07"])
    token.store.put("b", "{")
    put(token, "c", note={"x": [None, True]}, created=5)
    put(token, "d", previous=PREVIOUS)
    result = token("list")
    lines = result.output.splitlines()
    assert result.status == 0
    assert result.output.replace("\n", "").isprintable()
    assert [line.split()[0] for line in lines] == ["NAME", r"a\x1b[2J\xe2\x80\xae", "b", "c", "d"]
    assert ["broken" in line for line in lines[1:]] == [True, True, False, False]
    assert lines[4].endswith("valid, old password until 2999-01-01 00:00")


def pull(token: Operated, **fields: Any) -> None:
    line = {"callerKind": "token", "caller": "ci", "status": 307, "repositoryName": "team/app", "layersResolved": 1}
    token.log.append(json.dumps({"sourceIp": "192.0.2.1", **line, **fields}))


def test_the_log_says_which_token_pulled_what_and_when_last(token: Operated) -> None:
    pull(token)
    pull(token, sourceIp="192.0.2.2", layersResolved=3)
    pull(token, caller="other", repositoryName="team/b", registryId="210987654321")
    pull(token, caller="github:example/app#1", callerRule="ci")
    pull(token, callerKind="iam", caller="arn:aws:iam::123456789012:user/x")
    pull(token, status=403)
    token.log.append("INIT_START")
    rows = list(csv.DictReader(token("usage", "--csv").output.splitlines()))
    found = {(row["token"], row["repository"]): (row["requests"], row["layers"], row["addresses"]) for row in rows}
    assert found == {("ci", "team/app"): ("2", "4", "2"), ("other", "210987654321/team/b"): ("1", "1", "1")}
    assert abs(datetime.now(UTC) - datetime.fromisoformat(rows[0]["last"])) < timedelta(minutes=5)
    assert [line.split()[0] for line in token("usage", "ci", "missing").output.splitlines()] == ["TOKEN", "ci"]
    assert json.loads(token("usage", "other", "--json").output)[0]["layers"] == 1
    assert token("usage", "missing", "--days", "7").output == "No pulls in 7 days.\n"


def test_what_the_log_says_can_not_control_the_terminal(token: Operated) -> None:
    pull(token, repositoryName="\x1b[2J", caller="\u202e")
    for form in ([], ["--csv"]):
        assert token("usage", *form).output.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--log-group", "missing"], "CloudWatch Logs answered ResourceNotFoundException"),
        (["--stack", "Missing"], "There is no stack 'Missing'"),
    ],
)
def test_a_log_that_can_not_be_asked_is_one_line(token: Operated, arguments: list[str], message: str) -> None:
    result = token("usage", *arguments)
    assert (result.status, result.output, result.error.count("\n")) == (2, "", 1)
    assert message in result.error


@pytest.mark.parametrize(
    ("status", "message"), [("Running", "took longer than 0 s"), ("Failed", "ended the query: Failed. Try fewer days.")]
)
def test_a_query_that_does_not_end_well_is_stopped_and_said(
    monkeypatch: pytest.MonkeyPatch, status: str, message: str
) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.headers["x-amz-target"].partition(".")[2])
        return JSONResponse({"queryId": "1"} if asked[-1] == "StartQuery" else {"status": status})

    with running(Starlette(routes=[Route("/", answer, methods=["POST"])]), host="localhost") as url:
        lead_to(url, monkeypatch)
        client = boto3.client("logs", region_name="us-east-1")
        with pytest.raises(UsageError, match=message):
            find_usage(client, LOG_GROUP, [], timedelta(days=1), longest_wait=0.01)
    assert ("StopQuery" in asked) == (status == "Running")


def test_rows_that_can_not_be_read_are_shown_as_far_as_they_can(
    token: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"caller": "ci", "requests": "many", "last": "1e99", "layers": "1.0E3"}, {}]
    monkeypatch.setattr(token.log, "usage", lambda *_: rows)
    assert token("usage").output.splitlines()[1].split() == ["ci", "0", "1000", "0", "?"]


HTML = "<html><body>Log in to the hotel's network</body></html>"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (HTML, 200),
        (HTML, 400),
        ('{"Items": [{"Key": "ci", "Va', 200),
        ('{"Items": [{"Key": 5, "Value": []}], "Value": {}, "ItemCount": "x"}', 200),
        ("[]", 200),
        ("\x00\x1b[2J", 200),
    ],
)
def test_rubbish_for_an_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, command: Command, tmp_path: Path, body: str, status: int
) -> None:
    imported = exported(tmp_path, {"ci": ENTRY})
    with running(Response(body, status, media_type="application/json"), host="localhost") as url:
        lead_to(url, monkeypatch)
        for arguments in (["pause", "ci"], ["export"], ["import", imported], ["usage", "--log-group", "x"]):
            result = command("token", *arguments)
            assert (result.status, result.output, result.error.count("\n")) == (2, "", 1), arguments
            assert result.error[:-1].isprintable()
            assert "This is a bug" not in result.error
