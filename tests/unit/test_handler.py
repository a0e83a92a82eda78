"""Lambda's entry point."""

import random
import threading
import time

import snapshot_restore_py

from layer_resolver import handler
from layer_resolver.handler import SECONDS_TO_ANSWER, create_handler
from layer_resolver.models import ImageConfig, ImageConfigResult, ImageIndex, PostedManifest
from layer_resolver.settings import Settings
from tests.programs import run_python
from tests.unit.fakes import Context, FakeEcr, digest, function_url_event


def test_lambdas_entry_point_answers() -> None:
    answer = handler.lambda_handler(function_url_event("GET", "/healthz"), Context())
    assert (answer["statusCode"], answer["body"]) == (200, '{"status":"ok"}')


def test_a_call_that_hangs_is_waited_for_until_half_a_second_before_lambda_ends_the_invocation() -> None:
    answered = threading.Event()
    ecr = FakeEcr(answer=answered.wait)
    started = time.monotonic()
    event = function_url_event("GET", f"/v2/team/app/blobs/{digest()}")
    answer = create_handler(ecr, Settings())(event, Context(remaining_milliseconds=700))
    seconds = time.monotonic() - started
    answered.set()
    assert answer["statusCode"] == 504
    assert 0.7 - SECONDS_TO_ANSWER <= seconds < 5


def test_environments_that_are_restored_from_one_snapshot_do_not_share_random_numbers() -> None:
    random.seed(1)
    expected = random.Random(1).random()
    for function, arguments, keywords in snapshot_restore_py.get_after_restore():
        function(*arguments, **keywords)
    assert random.random() != expected


def test_the_deployed_function_puts_pull_events_if_the_operator_names_a_bus() -> None:
    script = (
        "import boto3; made = []; boto3.client, client = lambda name, **more: (made.append(name), "
        "client(name, **more))[1], boto3.client; import layer_resolver.handler; print(sorted(made))"
    )
    region = {"AWS_DEFAULT_REGION": "us-east-1"}
    assert run_python(script, **region, PULL_EVENT_BUS="layers").strip() == "['ecr', 'events']"


def test_a_snapshot_has_every_validator_that_a_request_would_build() -> None:
    for function, arguments, keywords in snapshot_restore_py.get_before_snapshot():
        function(*arguments, **keywords)
    assert all(model.__pydantic_complete__ for model in (ImageIndex, ImageConfig, PostedManifest, ImageConfigResult))
