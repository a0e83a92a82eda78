"""Lambda's entry point."""

import json
import logging
import random
import threading
import time

import snapshot_restore_py

from layer_resolver import handler
from layer_resolver.handler import SECONDS_TO_ANSWER, create_handler
from layer_resolver.models import ImageConfig, ImageConfigResult, ImageIndex, PostedManifest
from layer_resolver.settings import Settings
from tests.programs import run_python
from tests.unit.fakes import Context, FakeEcr, digest, function_url_event, metrics_in


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
    # Only the deadline ended it: nothing has answered yet.
    assert not answered.is_set()
    answered.set()
    assert answer["statusCode"] == 504
    assert seconds >= 0.7 - SECONDS_TO_ANSWER


def test_environments_that_are_restored_from_one_snapshot_do_not_share_random_numbers() -> None:
    random.seed(1)
    expected = random.Random(1).random()
    for function, arguments, keywords in snapshot_restore_py.get_after_restore():
        function(*arguments, **keywords)
    assert random.random() != expected


def test_a_snapshot_has_every_validator_that_a_request_would_build() -> None:
    for function, arguments, keywords in snapshot_restore_py.get_before_snapshot():
        function(*arguments, **keywords)
    assert all(model.__pydantic_complete__ for model in (ImageIndex, ImageConfig, PostedManifest, ImageConfigResult))


def test_the_deployed_function_has_the_operators_log_level_and_one_cold_start() -> None:
    script = (
        "from layer_resolver.handler import lambda_handler;"
        "from layer_resolver.observability import logger;"
        "from tests.unit.fakes import Context, function_url_event;"
        "[lambda_handler(function_url_event('GET', '/healthz'), Context()) for _ in range(2)];"
        "print('{\"level\": %d}' % logger.log_level)"
    )
    # Lambda's own level is never above INFO, because Lambda drops metrics otherwise.
    levels = {"POWERTOOLS_LOG_LEVEL": "Debug", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    printed = run_python(script, AWS_DEFAULT_REGION="us-east-1", **levels)
    *lines, level = [json.loads(line) for line in printed.splitlines()]
    assert level == {"level": logging.DEBUG}
    assert [line["cold_start"] for line in lines if "_aws" not in line] == [True, False]
    (cold,) = [line for line in lines if "ColdStart" in line]
    dimensions = {"function_name": "ecr-layer-resolver", "service": "ecr-layer-resolver"}
    assert list(metrics_in(cold)) == [("ColdStart", "Count", dimensions)]
