"""The local KeyValueStore, asked by botocore's own client of it."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local.key_value_store import KeyValueStore
from local.server import running
from tests.loopback import resolve_localhost_names


@pytest.fixture
def store() -> KeyValueStore:
    return KeyValueStore()


@pytest.fixture
def url(store: KeyValueStore) -> Iterator[str]:
    with running(store.app(), host="localhost") as url:
        yield url


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    resolve_localhost_names(monkeypatch)
    return boto3.client(
        "cloudfront-keyvaluestore",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


def etag(client: Any) -> str:
    return str(client.describe_key_value_store(KvsARN=KeyValueStore.arn)["ETag"])


def code(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(KvsARN=KeyValueStore.arn, **parameters)
    return str(error.value.response["Error"]["Code"])


def test_pairs_are_put_got_listed_and_deleted(client: Any, store: KeyValueStore) -> None:
    arn = store.arn
    version = client.put_key(KvsARN=arn, Key="a/b c", Value="1", IfMatch=etag(client))["ETag"]
    assert client.get_key(KvsARN=arn, Key="a/b c")["Value"] == "1"
    answer = client.update_keys(
        KvsARN=arn, IfMatch=version, Puts=[{"Key": "d", "Value": "ü"}], Deletes=[{"Key": "a/b c"}]
    )
    assert (answer["ItemCount"], answer["TotalSizeInBytes"]) == (1, 3)
    assert client.list_keys(KvsARN=arn)["Items"] == [{"Key": "d", "Value": "ü"}]
    client.delete_key(KvsARN=arn, Key="d", IfMatch=answer["ETag"])
    assert store.snapshot() == {}


def test_a_change_to_another_version_is_a_conflict_and_changes_nothing(client: Any, store: KeyValueStore) -> None:
    version = etag(client)
    store.put("a", "1")
    assert code(client.put_key, Key="b", Value="2", IfMatch=version) == "ConflictException"
    assert code(client.delete_key, Key="a", IfMatch=version) == "ConflictException"
    assert store.snapshot() == {"a": "1"}


def test_what_is_not_there_or_too_large_is_refused(client: Any) -> None:
    version = etag(client)
    assert code(client.get_key, Key="a") == "ResourceNotFoundException"
    assert code(client.delete_key, Key="a", IfMatch=version) == "ResourceNotFoundException"
    assert code(client.put_key, Key="a" * 513, Value="1", IfMatch=version) == "ValidationException"
    assert code(client.put_key, Key="a", Value="1" * 1025, IfMatch=version) == "ValidationException"
    client.put_key(KvsARN=KeyValueStore.arn, Key="a" * 512, Value="1" * 1024, IfMatch=version)


def test_a_list_has_ten_pairs_a_page_unless_more_are_asked_for(client: Any, store: KeyValueStore) -> None:
    for number in range(11):
        store.put(f"{number:02}", "")
    first = client.list_keys(KvsARN=store.arn)
    second = client.list_keys(KvsARN=store.arn, NextToken=first["NextToken"])
    assert [len(page["Items"]) for page in (first, second)] == [10, 1]
    assert "NextToken" not in second
    assert len(client.list_keys(KvsARN=store.arn, MaxResults=50)["Items"]) == 11
    assert code(client.list_keys, NextToken="x") == "ValidationException"
