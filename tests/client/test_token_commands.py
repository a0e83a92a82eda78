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

import boto3
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ecr_layers.cli import output
from ecr_layers.cli.output import ReaderGoneError
from ecr_layers.cli.signals import Stopped
from ecr_layers.errors import UsageError
from ecr_layers.ops.token_usage import find_usage
from local.operator_api import LOG_GROUP
from local.server import running
from tests.client.commanding import Command, command
from tests.client.operating import Operated, lead_to, there, tokens

__all__ = ["command", "there", "tokens"]

SHA256 = hashlib.sha256(b"password").hexdigest()
FUTURE = "2999-01-01T00:00:00Z"
ENTRY = {"sha256": SHA256, "repositories": ["team/*"], "notAfter": FUTURE, "created": "2026-11-25T12:00:00Z"}
PREVIOUS = {"sha256": "1" * 64, "notAfter": FUTURE}
CREATE = ("create", "ci", "--repositories", "team/*")


def put(there: Operated, name: str, **changes: Any) -> None:
    there.store.put(name, json.dumps({**ENTRY, **changes}))


def entries(there: Operated) -> dict[str, Any]:
    return {name: json.loads(value) for name, value in there.store.snapshot().items()}


def hash_in(path: Path) -> str:
    return hashlib.sha256(path.read_text().strip().partition(":")[2].encode()).hexdigest()


def test_a_token_goes_to_a_file_that_only_its_owner_can_read(there: Operated, tokens: Command, tmp_path: Path) -> None:
    file = tmp_path / "ci.token"
    result = tokens(*CREATE, "--note", "for Frankfurt", "-o", str(file))
    assert (result.status, result.output) == (0, "")
    assert f"{file} has the token" in result.error
    assert "docker login --username ci registry.example.com" in result.error
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert entries(there)["ci"]["sha256"] == hash_in(file)
    assert entries(there)["ci"]["note"] == "for Frankfurt"
    assert file.read_text().partition(":")[2].strip() not in result.error
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_exists_is_replaced_only_if_that_is_asked_for(
    there: Operated, tokens: Command, tmp_path: Path
) -> None:
    file = tmp_path / "ci.token"
    file.write_text("another's")
    file.chmod(0o644)
    result = tokens(*CREATE, "-o", str(file))
    assert (result.status, file.read_text(), there.store.calls) == (2, "another's", [])
    assert result.error == f"ecr-layers: {file} exists. Choose another name, or use --overwrite.\n"
    assert tokens(*CREATE, "-o", str(file), "--overwrite").status == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert entries(there)["ci"]["sha256"] == hash_in(file)


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
    there: Operated, tokens: Command, tmp_path: Path, arguments: tuple[str, ...], name: str
) -> None:
    result = tokens(*arguments, "-o", str(tmp_path / name))
    assert result.status in {2, 4}
    assert result.error.count("\n") == 1
    assert "PutKey" not in there.store.calls
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "error", "status"), [([], ReaderGoneError(), 4), (["--json"], Stopped(signal.SIGINT), 130)]
)
def test_a_password_that_is_not_written_counts_for_nothing(
    there: Operated,
    tokens: Command,
    monkeypatch: pytest.MonkeyPatch,
    form: list[str],
    error: BaseException,
    status: int,
) -> None:
    def fail(_: str) -> None:
        raise error

    put(there, "old", previous=PREVIOUS)
    before = there.store.snapshot()
    monkeypatch.setattr(output, "write_line", fail)
    for arguments in (CREATE, ("rotate", "old")):
        result = tokens(*arguments, *form)
        assert result.status == status
        assert ("The password couldn't be written, so" in result.error) == (status == 4)
        assert there.store.snapshot() == before


def test_what_can_not_be_undone_is_said(there: Operated, tokens: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        there.store.refuse("AccessDeniedException")
        raise ReaderGoneError

    monkeypatch.setattr(output, "write_line", fail)
    result = tokens(*CREATE)
    assert result.status == 4
    assert "revoke ci, because that failed: AWS denied" in result.error


def test_a_rotated_token_keeps_its_old_password_for_a_while(there: Operated, tokens: Command, tmp_path: Path) -> None:
    put(there, "ci", note="kept", paused=False)
    file = tmp_path / "new.token"
    before = datetime.now(UTC)
    assert tokens("rotate", "ci", "--keep-old", "2h", "-o", str(file)).status == 0
    changed = entries(there)["ci"]
    assert changed.pop("sha256") == hash_in(file)
    previous = changed.pop("previous")
    assert previous["sha256"] == SHA256
    until = datetime.fromisoformat(previous["notAfter"]) - before
    assert timedelta(hours=2, seconds=-5) < until < timedelta(hours=2, minutes=1)
    kept = {name: each for name, each in ENTRY.items() if name != "sha256"}
    assert changed == {**kept, "note": "kept", "paused": False}
    assert "valid, old password until" in tokens("list").output


def test_an_old_password_can_end_at_once_and_never_outlives_its_token(there: Operated, tokens: Command) -> None:
    put(there, "ci", previous=PREVIOUS)
    assert tokens("rotate", "ci", "--keep-old", "0").status == 0
    assert "previous" not in entries(there)["ci"]
    soon = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    put(there, "ci", notAfter=soon)
    assert tokens("rotate", "ci", "--keep-old", "999999d", "--days", "30").status == 0
    assert entries(there)["ci"]["previous"]["notAfter"] == soon
    assert entries(there)["ci"]["notAfter"] > soon


def test_an_expired_token_lives_again_with_a_new_date(there: Operated, tokens: Command) -> None:
    put(there, "ci", notAfter="2020-01-01T00:00:00Z")
    assert tokens("rotate", "ci", "--not-after", "2999-01-01").status == 0
    assert entries(there)["ci"]["notAfter"] == "2999-01-01T23:59:59Z"
    assert "previous" not in entries(there)["ci"]


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"notAfter": "2020-01-01T00:00:00Z"}, [], "The token has expired. Give it a new date"),
        ({"sha256": "?"}, [], "The token's entry in the store is broken."),
        ({"note": "x" * 750}, [], "Rotate it with --keep-old 0."),
        ({}, ["--keep-old", "long"], "isn't a duration, such as 90s, 2m, 1h or 7d."),
        ({}, ["--days", "1", "--not-after", "2999-01-01"], "Use only one of --days and --not-after."),
    ],
)
def test_a_token_that_can_not_be_rotated_stays_as_it_is(
    there: Operated, tokens: Command, changes: dict[str, Any], arguments: list[str], message: str
) -> None:
    put(there, "ci", **changes)
    before = there.store.snapshot()
    result = tokens("rotate", "ci", *arguments)
    assert (result.status, result.output, there.store.snapshot()) == (2, "", before)
    assert message in result.error


def test_a_paused_token_is_the_same_when_it_is_resumed(there: Operated, tokens: Command) -> None:
    put(there, "ci", unknown={"kept": 1})
    for _ in range(2):
        assert tokens("pause", "ci").output == "Paused ci. Takes effect within seconds.\n"
        assert entries(there)["ci"] == {**ENTRY, "unknown": {"kept": 1}, "paused": True}
    assert "paused" in tokens("list").output
    for _ in range(2):
        assert tokens("resume", "ci").output == "Resumed ci. Takes effect within seconds.\n"
        assert entries(there)["ci"] == {**ENTRY, "unknown": {"kept": 1}}
    assert there.store.calls.count("PutKey") == 2


def test_a_token_of_the_longest_scope_can_be_rotated_and_paused(there: Operated, tokens: Command) -> None:
    scope = [f"team/{number:0>55}" for number in range(10)]
    dates = ("--not-before", "2998-12-31", "--not-after", "2999-01-01")
    assert tokens("create", "ci", "--repositories", *scope, *dates).status == 0
    assert " ".join(scope) in tokens("list").output
    assert tokens("rotate", "ci").status == 0
    assert tokens("pause", "ci").status == 0
    assert entries(there)["ci"]["paused"] is True


def test_a_key_that_begins_with_an_underscore_is_no_token(there: Operated, tokens: Command) -> None:
    put(there, "_signing")
    before = there.store.snapshot()
    for action in ("pause", "resume", "rotate", "revoke"):
        result = tokens(action, "_signing")
        assert result.status == 2
        assert "'_signing' isn't a pull token." in result.error
    assert tokens("list").output == "There are no tokens.\n"
    assert json.loads(tokens("export").output) == {"tokens": {}}
    assert there.store.snapshot() == before


def test_a_backup_has_hashes_and_brings_all_tokens_back(there: Operated, tokens: Command, tmp_path: Path) -> None:
    for number in range(101):
        put(there, f"ci-{number:03}", note="naïve")
    put(there, "rotated", paused=True, notBefore="2026-01-01", previous=PREVIOUS)
    before = there.store.snapshot()
    there.store.put("broken", "{")
    file = tmp_path / "tokens.json"
    assert tokens("export", "-o", str(file)).error == (
        "Exported 102 tokens.\necr-layers: note: left broken out; its entry in the store is broken.\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for name in there.store.snapshot():
        there.store.delete(name)
    there.store.put("rotated", before["rotated"])
    assert tokens("import", str(file)).output == "Imported 101 tokens. 1 already there.\n"
    assert entries(there) == {name: json.loads(value) for name, value in before.items()}
    assert there.store.calls.count("UpdateKeys") == 3
    assert tokens("import", str(file)).output == "Imported 0 tokens. 102 already there.\n"


def exported(tmp_path: Path, exported_entries: Mapping[str, Any]) -> str:
    """Write a file as `ecr-layers token export` does, and return its name."""
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"tokens": exported_entries}))
    return str(file)


def test_an_import_overwrites_nothing_unless_that_is_asked_for(
    there: Operated, tokens: Command, tmp_path: Path
) -> None:
    put(there, "ci", note="here")
    file = exported(tmp_path, {"ci": ENTRY, "new": ENTRY})
    before = there.store.snapshot()
    result = tokens("import", file)
    assert (result.status, there.store.snapshot()) == (2, before)
    assert "The store has other tokens of these names: ci. Nothing was written. Use --overwrite" in result.error
    assert tokens("import", file, "--overwrite").status == 0
    assert entries(there) == {"ci": ENTRY, "new": ENTRY}


def test_a_token_that_someone_else_changes_during_an_import_is_theirs(
    there: Operated, tokens: Command, tmp_path: Path
) -> None:
    there.store.once_before("UpdateKeys", lambda: put(there, "ci", note="theirs"))
    result = tokens("import", exported(tmp_path, {"ci": ENTRY}))
    assert (result.status, entries(there)["ci"]["note"]) == (2, "theirs")
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
    there: Operated, tokens: Command, tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    result = tokens("import", exported(tmp_path, {"first": ENTRY, name: {**ENTRY, **changes}}))
    assert (result.status, result.output, result.error.count("\n")) == (2, "", 1)
    assert message in result.error
    assert there.store.snapshot() == {}


@pytest.mark.parametrize("content", [b"{", b'{"tokens": []}', b"\xff", b'{"tokens": {"ci": 1}}', b"[" * 99999])
def test_a_file_that_was_not_exported_is_one_line(tokens: Command, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tokens.json"
    file.write_bytes(content)
    result = tokens("import", str(file))
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert "isn't " in result.error


def test_a_token_can_begin_later_and_says_so(there: Operated, tokens: Command) -> None:
    later = (*CREATE, "--not-before", "2998-01-01")
    assert "would expire before 2998-01-01" in tokens(*later).error
    assert tokens(*later, "--not-after", "2998-06-30").status == 0
    assert entries(there)["ci"]["notBefore"] == "2998-01-01T00:00:00Z"
    assert "valid from 2998-01-01 00:00" in tokens("list").output
    (listed,) = json.loads(tokens("list", "--json").output)
    assert (listed["state"], listed["notBefore"]) == ("not yet valid", "2998-01-01T00:00:00Z")


def test_a_note_is_one_line_of_text(there: Operated, tokens: Command) -> None:
    for note in ("a\nb", "\x1b[2J", "\u202eevil"):
        assert "control characters" in tokens(*CREATE, "--note", note).error
    assert there.store.snapshot() == {}


def test_no_entry_breaks_the_list_or_the_terminal(there: Operated, tokens: Command) -> None:
    put(there, "a\x1b[2J\u202e", note="\u2066\ud800\x9b", repositories=["\u7f51/\x07"])
    there.store.put("b", "{")
    put(there, "c", note={"x": [None, True]}, created=5)
    put(there, "d", previous=PREVIOUS)
    result = tokens("list")
    lines = result.output.splitlines()
    assert result.status == 0
    assert result.output.replace("\n", "").isprintable()
    assert [line.split()[0] for line in lines] == ["NAME", r"a\x1b[2J\xe2\x80\xae", "b", "c", "d"]
    assert ["broken" in line for line in lines[1:]] == [True, True, False, False]
    assert lines[4].endswith("valid, old password until 2999-01-01 00:00")


def pull(there: Operated, **fields: Any) -> None:
    line = {"callerKind": "token", "caller": "ci", "status": 307, "repositoryName": "team/app", "layersResolved": 1}
    there.log.append(json.dumps({"sourceIp": "192.0.2.1", **line, **fields}))


def test_the_log_says_which_token_pulled_what_and_when_last(there: Operated, tokens: Command) -> None:
    pull(there)
    pull(there, sourceIp="192.0.2.2", layersResolved=3)
    pull(there, caller="other", repositoryName="team/b", registryId="210987654321")
    pull(there, caller="github:example/app#1", callerRule="ci")
    pull(there, callerKind="iam", caller="arn:aws:iam::123456789012:user/x")
    pull(there, status=403)
    there.log.append("INIT_START")
    rows = list(csv.DictReader(tokens("usage", "--csv").output.splitlines()))
    found = {(row["token"], row["repository"]): (row["requests"], row["layers"], row["addresses"]) for row in rows}
    assert found == {("ci", "team/app"): ("2", "4", "2"), ("other", "210987654321/team/b"): ("1", "1", "1")}
    assert abs(datetime.now(UTC) - datetime.fromisoformat(rows[0]["last"])) < timedelta(minutes=5)
    assert [line.split()[0] for line in tokens("usage", "ci", "missing").output.splitlines()] == ["TOKEN", "ci"]
    assert json.loads(tokens("usage", "other", "--json").output)[0]["layers"] == 1
    assert tokens("usage", "missing", "--days", "7").output == "No pulls in 7 days.\n"


def test_what_the_log_says_can_not_control_the_terminal(there: Operated, tokens: Command) -> None:
    pull(there, repositoryName="\x1b[2J", caller="\u202e")
    for form in ([], ["--csv"]):
        assert tokens("usage", *form).output.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--log-group", "missing"], "CloudWatch Logs answered ResourceNotFoundException"),
        (['x" or 1=1'], "isn't a valid token name"),
        (["--csv", "--json"], "Use only one of --csv and --json."),
        (["--stack", "Missing"], "There is no stack 'Missing'"),
    ],
)
def test_a_log_that_can_not_be_asked_is_one_line(tokens: Command, arguments: list[str], message: str) -> None:
    result = tokens("usage", *arguments)
    assert (result.status, result.output, result.error.count("\n")) == (2, "", 1)
    assert message in result.error


def answer_with(body: str, status: int = 200, asked: list[str] | None = None) -> ASGIApp:
    """Return an application that answers everything with a body, but gives queries of the log an id."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        target = Request(scope).headers.get("x-amz-target", "").partition(".")[2]
        if asked is not None:
            asked.append(target)
        content = '{"queryId": "1"}' if asked is not None and target == "StartQuery" else body
        await Response(content, status, media_type="application/x-amz-json-1.1")(scope, receive, send)

    return app


@pytest.mark.parametrize(
    ("status", "message"), [("Running", "took longer than 0 s"), ("Failed", "ended the query: Failed. Try fewer days.")]
)
def test_a_query_that_does_not_end_well_is_stopped_and_said(
    monkeypatch: pytest.MonkeyPatch, status: str, message: str
) -> None:
    asked: list[str] = []
    with running(answer_with(json.dumps({"status": status}), asked=asked), host="localhost") as url:
        lead_to(url, monkeypatch)
        client = boto3.client("logs", region_name="us-east-1")
        with pytest.raises(UsageError, match=message):
            find_usage(client, LOG_GROUP, [], timedelta(days=1), longest_wait=0.01)
    assert ("StopQuery" in asked) == (status == "Running")


def test_rows_that_can_not_be_read_are_shown_as_far_as_they_can(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    cells = {"caller": "ci", "requests": "many", "last": "1e99", "layers": "1.0E3"}
    results = [[{"field": name, "value": value} for name, value in cells.items()], [{}]]
    body = json.dumps({"status": "Complete", "results": results})
    with running(answer_with(body, asked=[]), host="localhost") as url:
        lead_to(url, monkeypatch)
        result = command("token", "usage", "--log-group", "x")
    assert result.output.splitlines()[1].split() == ["ci", "0", "1000", "0", "?"]


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
    with running(answer_with(body, status), host="localhost") as url:
        lead_to(url, monkeypatch)
        for arguments in (["pause", "ci"], ["export"], ["import", imported], ["usage", "--log-group", "x"]):
            result = command("token", *arguments)
            assert (result.status, result.output, result.error.count("\n")) == (2, "", 1), arguments
            assert result.error[:-1].isprintable()
            assert "This is a bug" not in result.error
