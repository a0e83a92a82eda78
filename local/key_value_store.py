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

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions-create-s3-kvp.html
_LONGEST_KEY, _LONGEST_VALUE = 512, 1024
_DEFAULT_PAGE, _LARGEST_PAGE = 10, 50
_SERVICE = "cloudfront-keyvaluestore"


class StoreError(Exception):
    """A request is answered with one of the errors that the model has; the message is its name."""


class KeyValueStore:
    """One store. Threads can share it."""

    arn = "arn:aws:cloudfront::123456789012:key-value-store/11111111-2222-3333-4444-555555555555"

    def __init__(self) -> None:
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
            response = await run_in_threadpool(self._answer, request, await request.body())
            await response(scope, receive, send)

        return app

    def perform(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Perform an operation, with parameters by the names in the model.

        Raises:
            StoreError: If it is answered with an error.
        """
        match operation:
            case "UpdateKeys":
                return self._update(parameters, parameters.get("Puts") or [], parameters.get("Deletes") or [])
            case "PutKey":
                return self._update(parameters, [parameters], [])
            case "DeleteKey":
                self._get(parameters["Key"])
                return self._update(parameters, [], [parameters])
            case "GetKey":
                return self._get(parameters["Key"])
            case "ListKeys":
                return self._list(parameters)
            case _:
                return self._size() | {"KvsARN": self.arn, "Created": 0}

    def _get(self, key: str) -> dict[str, Any]:
        value = self.snapshot().get(key)
        if value is None:
            raise StoreError("ResourceNotFoundException")
        return self._size() | {"Key": key, "Value": value}

    def _list(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        start, count = parameters.get("NextToken", "0"), int(parameters.get("MaxResults", _DEFAULT_PAGE))
        if not start.isdecimal() or not 1 <= count <= _LARGEST_PAGE:
            raise StoreError("ValidationException")
        pairs, end = sorted(self.snapshot().items()), int(start) + count
        page = [{"Key": key, "Value": value} for key, value in pairs[int(start) : end]]
        return {"Items": page, **({"NextToken": str(end)} if end < len(pairs) else {})}

    def _update(
        self, parameters: Mapping[str, Any], puts: list[Mapping[str, Any]], deletes: list[Mapping[str, Any]]
    ) -> dict[str, Any]:
        if not all(0 < len(pair["Key"]) <= _LONGEST_KEY and len(pair["Value"]) <= _LONGEST_VALUE for pair in puts):
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
        members = json.loads(body or b"{}") | dict(request.query_params) | parameters
        try:
            answer = self.perform(operation, members | {"IfMatch": request.headers.get("if-match")})
        except StoreError as error:
            return self._error(str(error))
        return JSONResponse(answer, headers={"ETag": self._etag})

    def _error(self, name: str) -> Response:
        status = self._model.shape_for(name).metadata.get("error", {}).get("httpStatusCode", 500)
        return JSONResponse({"Message": f"The store answers {name}."}, status, {"x-amzn-ErrorType": name})
