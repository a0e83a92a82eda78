"""A CloudFront KeyValueStore: what is in it, and its data plane API, which `ecr-layers token` speaks.

The API is made from botocore's model of it. Signatures are not looked at.
Source: https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_Operations_Amazon_CloudFront_KeyValueStore.html
"""

import json
import re
import secrets
from collections.abc import Mapping
from threading import Lock
from typing import Any
from urllib.parse import unquote

import botocore.session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from local.server import RequestTooLargeError, read_body

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions-create-s3-kvp.html
_LONGEST_KEY, _LONGEST_VALUE = 512, 1024
_LARGEST_BODY = 64 * 1024
_DEFAULT_PAGE, _LARGEST_PAGE = 10, 50
_SERVICE = "cloudfront-keyvaluestore"


class StoreError(Exception):
    """A request is answered with one of the errors that the model has; the message is its name."""


class KeyValueStore:
    """One store. Threads can share it.

    Attributes:
        arn: Its ARN.
        is_readable: Whether the functions at the edge can read it.
    """

    arn = "arn:aws:cloudfront::123456789012:key-value-store/11111111-2222-3333-4444-555555555555"

    def __init__(self) -> None:
        self.is_readable = True
        self._items: dict[str, str] = {}
        self._etag = secrets.token_hex(8)
        self._lock = Lock()
        self._model = botocore.session.get_session().get_service_model(_SERVICE)
        self._operations = {name: self._route(name) for name in self._model.operation_names}

    def snapshot(self) -> dict[str, str]:
        """Return all pairs of this moment."""
        with self._lock:
            return dict(self._items)

    def put(self, key: str, value: str) -> None:
        """Put a pair into it, as a request does."""
        with self._lock:
            self._items[key] = value
            self._etag = secrets.token_hex(8)

    def delete(self, key: str) -> None:
        """Remove a pair, as a request does.

        Raises:
            KeyError: If it has no such key.
        """
        with self._lock:
            del self._items[key]
            self._etag = secrets.token_hex(8)

    def app(self) -> ASGIApp:
        """Return the application that is its API."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            try:
                body = await read_body(request, _LARGEST_BODY)
                response = await run_in_threadpool(self._answer, request, body)
            except RequestTooLargeError:
                response = self._error("ValidationException")
            await response(scope, receive, send)

        return app

    def perform(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Perform an operation of the API and return what it answers.

        Args:
            operation: Its name.
            parameters: Its parameters, by the names that the model has.

        Raises:
            StoreError: If it is answered with an error.
        """
        if operation == "UpdateKeys":
            return self._update(parameters, parameters.get("Puts") or [], parameters.get("Deletes") or [])
        if operation == "PutKey":
            return self._update(parameters, [parameters], [])
        if operation == "DeleteKey":
            if parameters["Key"] not in self.snapshot():
                raise StoreError("ResourceNotFoundException")
            return self._update(parameters, [], [parameters])
        if operation == "GetKey":
            return self._get(parameters["Key"])
        if operation == "ListKeys":
            return self._list(parameters)
        return self._size() | {"KvsARN": self.arn, "Created": 0}

    def _get(self, key: str) -> dict[str, Any]:
        value = self.snapshot().get(key)
        if value is None:
            raise StoreError("ResourceNotFoundException")
        return self._size() | {"Key": key, "Value": value}

    def _list(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        start, count = parameters.get("NextToken", "0"), parameters.get("MaxResults", str(_DEFAULT_PAGE))
        if not all(re.fullmatch("[0-9]{1,9}", text) for text in (start, count)) or int(count) not in range(1, 51):
            raise StoreError("ValidationException")
        pairs, end = sorted(self.snapshot().items()), int(start) + min(int(count), _LARGEST_PAGE)
        page = [{"Key": key, "Value": value} for key, value in pairs[int(start) : end]]
        return {"Items": page, **({"NextToken": str(end)} if end < len(pairs) else {})}

    def _update(
        self, parameters: Mapping[str, Any], puts: list[Mapping[str, Any]], deletes: list[Mapping[str, Any]]
    ) -> dict[str, Any]:
        if not all(map(_is_pair, puts)) or not all(isinstance(pair.get("Key"), str) for pair in deletes):
            raise StoreError("ValidationException")
        with self._lock:
            if parameters.get("IfMatch") != self._etag:
                raise StoreError("ConflictException")
            self._items |= {pair["Key"]: pair["Value"] for pair in puts}
            for pair in deletes:
                self._items.pop(pair["Key"], None)
            self._etag = secrets.token_hex(8)
        return self._size()

    def _size(self) -> dict[str, Any]:
        pairs = self.snapshot()
        return {"ItemCount": len(pairs), "TotalSizeInBytes": sum(len(f"{key}{pairs[key]}".encode()) for key in pairs)}

    def _route(self, operation: str) -> tuple[str, re.Pattern[str]]:
        http = self._model.operation_model(operation).http
        path = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(http["requestUri"]))
        return http["method"], re.compile(path)

    def _answer(self, request: Request, body: bytes) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        for operation, (method, pattern) in self._operations.items():
            if method == request.method and (match := pattern.fullmatch(path)):
                parameters = {name: unquote(value) for name, value in match.groupdict().items()}
                return self._answer_operation(operation, parameters, request, body)
        return self._error("ValidationException")

    def _answer_operation(self, operation: str, parameters: dict[str, Any], request: Request, body: bytes) -> Response:
        if parameters["KvsARN"] != self.arn:
            return self._error("ResourceNotFoundException")
        try:
            members = _members(body)
            answer = self.perform(
                operation, {**members, **request.query_params, **parameters, "IfMatch": request.headers.get("if-match")}
            )
        except StoreError as error:
            return self._error(str(error))
        return JSONResponse(answer, headers={"ETag": self._etag})

    def _error(self, name: str) -> Response:
        status = self._model.shape_for(name).metadata.get("error", {}).get("httpStatusCode", 500)
        return JSONResponse({"Message": f"The store answers {name}."}, status, {"x-amzn-ErrorType": name})


def _members(body: bytes) -> dict[str, Any]:
    """Return what a request's body has.

    Raises:
        StoreError: If it is not of the form that the API has.
    """
    try:
        members = json.loads(body or b"{}")
    except ValueError:
        members = None
    if not isinstance(members, dict) or not all(_are_objects(members.get(name)) for name in ("Puts", "Deletes")):
        raise StoreError("ValidationException")
    return members


def _are_objects(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, dict) for each in value))


def _is_pair(pair: Mapping[str, Any]) -> bool:
    key, value = pair.get("Key"), pair.get("Value")
    return (
        isinstance(key, str)
        and isinstance(value, str)
        and 0 < len(key) <= _LONGEST_KEY
        and len(value) <= _LONGEST_VALUE
    )
