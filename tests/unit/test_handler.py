"""Lambda's entry point."""

import random

from layer_resolver import handler
from tests.unit.fakes import Context, function_url_event


def test_lambdas_entry_point_answers() -> None:
    answer = handler.lambda_handler(function_url_event("GET", "/healthz"), Context())
    assert (answer["statusCode"], answer["body"]) == (200, '{"status":"ok"}')


def test_after_a_restore_the_entry_point_answers_with_another_handler_and_other_random_numbers() -> None:
    before = handler._handler
    random.seed(1)
    expected = random.Random(1).random()
    handler.renew_after_restore()
    assert handler._handler is not before
    assert random.random() != expected
    assert handler.lambda_handler(function_url_event("GET", "/healthz"), Context())["statusCode"] == 200
