import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config

from benchmarks.events import new_digests
from benchmarks.processes import Ecr
from benchmarks.stand_in import HANGING


@pytest.fixture
def ecr() -> Iterator[Ecr]:
    with Ecr() as stand_in:
        yield stand_in


def client_of(ecr: Ecr, **config: Any) -> Any:
    return boto3.client(
        "ecr",
        endpoint_url=ecr.url,
        region_name="us-east-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


def ask(client: Any, digest: str) -> Any:
    return client.get_download_url_for_layer(repositoryName="team/app", layerDigest=digest)


def test_boto3_gets_the_url_of_the_layer_it_asks_for(ecr: Ecr) -> None:
    client = client_of(ecr)
    for digest in new_digests(3):
        answer = ask(client, digest)
        assert answer["layerDigest"] == digest
        assert digest in answer["downloadUrl"]


def test_a_url_is_as_long_as_a_real_one_and_was_signed_now() -> None:
    with Ecr(lifetime_seconds=8) as ecr:
        url = ask(client_of(ecr), new_digests(1)[0])["downloadUrl"]
    query = parse_qs(urlsplit(url).query)
    signed_at = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert 1500 <= len(url) <= 2048
    assert abs(datetime.now(UTC) - signed_at) < timedelta(seconds=10)
    assert query["X-Amz-Expires"] == ["8"]


def test_a_request_may_arrive_in_pieces(ecr: Ecr) -> None:
    body = b'{"layerDigest": "sha256:aa"}'
    with socket.create_connection(("127.0.0.1", ecr.port)) as connection:
        for piece in (b"POST / HTTP/1.1\r\nHost: ecr\r\nCont", b"ent-Length: %d\r\n\r\n" % len(body), body):
            connection.sendall(piece)
            time.sleep(0.05)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert json.loads(response.read())["layerDigest"] == "sha256:aa"


def test_calls_wait_beside_each_other() -> None:
    with Ecr(latency_ms=200) as ecr, ThreadPoolExecutor(16) as pool:
        client = client_of(ecr, max_pool_connections=16)
        started = time.monotonic()
        list(pool.map(lambda digest: ask(client, digest), new_digests(16)))
        seconds = time.monotonic() - started
    # One after the other they would take more than three seconds.
    assert 0.2 <= seconds < 1.6


def test_calls_are_counted(ecr: Ecr) -> None:
    client = client_of(ecr)
    for digest in new_digests(5):
        ask(client, digest)
    assert ecr.calls() == 5


def test_a_hanging_layer_gets_no_answer_and_others_do(ecr: Ecr) -> None:
    client = client_of(ecr, read_timeout=0.3)
    with pytest.raises(Exception, match="Read timeout"):
        ask(client, f"{HANGING}00")
    assert ask(client, new_digests(1)[0])
