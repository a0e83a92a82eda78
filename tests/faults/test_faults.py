"""Short forms of the runs that `make soak` has in full."""

import httpx
import pytest

from tests.faults.harness import PLACES, Report, run, run_each_alone, run_inputs
from tests.faults.server import Behaviour, HttpRequest, answer, close, fault_server

# urllib3 leaves the socket of an answer with malformed headers to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

POOLS = 40
"""How many threads and connections the function's pools may have come to keep."""


def assert_level(report: Report) -> None:
    for name in ("threads", "file descriptors"):
        assert report.after[name] <= report.before[name] + POOLS, (name, report.before, report.after)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_ecr_and_s3_do_each_answer_is_a_row_in_time_and_tells_no_secret(seed: int) -> None:
    report = run(seed, 150)
    assert report.invocations == 150
    assert len(report.behaviours) > 15
    assert len(report.outcomes) > 5
    assert_level(report)


@pytest.mark.parametrize("place", PLACES)
def test_each_fault_of_a_connection_alone_ends_at_the_deadline(place: str) -> None:
    report = run_each_alone(1, place)
    assert report.invocations == len(report.behaviours) > 25


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_a_caller_sends_is_the_callers_own_fault_and_is_not_repeated(seed: int) -> None:
    report = run_inputs(seed, 4000)
    assert report.invocations == 4000
    assert len(report.outcomes) > 8
    assert_level(report)


def test_the_harness_notices_an_answer_that_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.harness.ALLOWANCE_SECONDS", -10.0)
    with pytest.raises(AssertionError, match="after the deadline"):
        run(1, 1)


def test_the_harness_notices_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    # The log has the name of the stack.
    monkeypatch.setattr("tests.faults.harness.SECRETS", ("ecr-layer-resolver",))
    monkeypatch.setattr("tests.faults.harness.check.__defaults__", (("ecr-layer-resolver",),))
    with pytest.raises(AssertionError, match="a secret is written"):
        run(1, 1)


def test_the_server_in_ecrs_place_does_what_it_is_told() -> None:
    behaviours = iter([answer(418, b"tea", "X-Kind: black"), close()])

    def respond(request: HttpRequest) -> Behaviour:
        assert request.body == b"asked"
        return next(behaviours)

    with fault_server(respond) as server:
        url = f"http://127.0.0.1:{server.port}/"
        response = httpx.post(url, content=b"asked")
        assert (response.status_code, response.content, response.headers["x-kind"]) == (418, b"tea", "black")
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(url, content=b"asked")
