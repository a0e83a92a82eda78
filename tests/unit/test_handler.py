"""Lambda's entry point."""

import gc
import importlib
import json
import random

import pytest
import snapshot_restore_py

from layer_resolver import handler
from layer_resolver.network import Deadline, tls_context
from tests.programs import run_python
from tests.unit.fakes import Context, FakeEcr, digest, function_url_event


def test_lambdas_entry_point_answers() -> None:
    answer = handler.lambda_handler(function_url_event("GET", "/healthz"), Context())
    assert (answer["statusCode"], answer["body"]) == (200, '{"status":"ok"}')


def test_the_deadline_is_lambdas_less_half_a_second_for_writing_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    after = Deadline.after

    def after_seconds(seconds: float) -> Deadline:
        given.append(seconds)
        return after(seconds)

    monkeypatch.setattr(Deadline, "after", after_seconds)
    handler.create_handler(FakeEcr)(function_url_event("GET", "/healthz"), Context(7_000))
    assert given[0] == 6.5


def test_after_a_restore_random_numbers_are_others() -> None:
    random.seed(1)
    expected = random.Random(1).random()
    handler.renew_after_restore()
    assert random.random() != expected


def test_a_snapshot_has_all_that_a_request_needs_loaded_and_a_handler_that_has_answered_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(importlib, "import_module", loaded.append)
    monkeypatch.setattr(handler, "rehearse", lambda: loaded.append("rehearsed"))
    before = handler._handler
    tls_context.cache_clear()
    handler.load_before_snapshot()
    gc.unfreeze()
    # Certificates take long to read.
    assert tls_context.cache_info().currsize == 1
    assert {"layer_resolver.manifests", "layer_resolver.openapi", "rehearsed"} <= set(loaded)
    assert handler._handler is not before
    assert handler.lambda_handler(function_url_event("GET", "/healthz"), Context())["statusCode"] == 200


def test_the_hooks_of_snap_start_are_registered() -> None:
    assert handler.load_before_snapshot in {call[0] for call in snapshot_restore_py.get_before_snapshot()}
    assert handler.renew_after_restore in {call[0] for call in snapshot_restore_py.get_after_restore()}


def test_garbage_is_collected_after_loading_but_not_looked_for_in_what_was_loaded() -> None:
    script = "import gc; import layer_resolver.handler; print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    assert run_python(script).strip() == "True True"


@pytest.mark.parametrize(
    "path", [f"/download-url?repositoryName=team/app&layerDigest={digest()}", f"/v2/team/app/blobs/{digest()}"]
)
def test_a_request_for_one_layer_loads_neither_pydantic_nor_the_parser_nor_what_is_opted_into(path: str) -> None:
    raw_path, _, query = path.partition("?")
    event = function_url_event("GET", raw_path, dict(part.split("=") for part in query.split("&")) if query else None)
    script = (
        "import json, sys;"
        "from layer_resolver.handler import create_handler;"
        "from tests.unit.fakes import Context, FakeEcr;"
        "before = 'pydantic' in sys.modules;"
        "answer = create_handler(FakeEcr)(json.loads(sys.argv[1]), Context());"
        "print(answer['statusCode'], before, [name for name in sys.modules if name.startswith(('pydantic', "
        "'aws_lambda_powertools.utilities.parser', 's3transfer', 'layer_resolver.pull_events'))])"
    )
    assert run_python(script, json.dumps(event)).splitlines()[-1] in {"200 False []", "307 False []"}
