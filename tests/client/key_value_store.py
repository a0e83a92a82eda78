"""A stand-in for the data plane of CloudFront's KeyValueStore, made from botocore's model of it, that can fail."""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import botocore.session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

ARN = "arn:aws:cloudfront::123456789012:key-value-store/11111111-2222-3333-4444-555555555555"
_MODEL = botocore.session.get_session().get_service_model("cloudfront-keyvaluestore")
_SIGNED = re.compile(r"AWS4-ECDSA-P256-SHA256 Credential=[^/]+/[0-9]{8}/cloudfront-keyvaluestore/aws4_request, .*")


class StoreError(Exception):
    """One of the errors that the model has."""


def _operations() -> dict[str, tuple[str, re.Pattern[str]]]:
    operations = {}
    for name in _MODEL.operation_names:
        http = _MODEL.operation_model(name).http
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(http["requestUri"]))
        operations[name] = (http["method"], re.compile(pattern))
    return operations


_OPERATIONS = _operations()


@dataclass
class KeyValueStore:
    """A store with what it was asked.

    Attributes:
        items: What is in it.
        calls: The operations that were asked for.
        before: Called with an operation's name before it is answered; it can raise a StoreError, or change the store.
        after: Called likewise when the operation has been done; it can lose the answer.
    """

    items: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None
    etag: str = "first"

    def app(self) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            body = await request.body()
            response = await run_in_threadpool(self._answer, request, body)
            await response(scope, receive, send)

        return app

    def put(self, key: str, value: str | None) -> None:
        """Write, or remove what has no value, as somebody else does."""
        self.items = (
            {**self.items, key: value} if value is not None else {k: v for k, v in self.items.items() if k != key}
        )
        self.etag = secrets.token_hex(8)

    def _answer(self, request: Request, body: bytes) -> Response:
        assert _SIGNED.fullmatch(request.headers["authorization"])
        assert request.headers["x-amz-region-set"] == "*"
        name, parameters = self._operation(request)
        self.calls.append(name)
        try:
            self.before(name)
            content = getattr(self, f"_{name}")(parameters | (json.loads(body) if body else {}))
            self.after(name)
        except StoreError as error:
            shape = _MODEL.shape_for(str(error))
            status = (
                shape.metadata["error"]["httpStatusCode"]
                if "httpStatusCode" in shape.metadata.get("error", {})
                else 500
            )
            return JSONResponse({"Message": "no\nhow"}, status, {"x-amzn-ErrorType": str(error)})
        return JSONResponse(content, headers={"ETag": self.etag})

    def _operation(self, request: Request) -> tuple[str, dict[str, Any]]:
        path = request.scope["raw_path"].decode()
        for name, (method, pattern) in _OPERATIONS.items():
            if method == request.method and (match := pattern.fullmatch(path)):
                parameters = {key: unquote(value) for key, value in match.groupdict().items()}
                assert parameters.pop("KvsARN") == ARN
                return name, {**parameters, **request.query_params, "IfMatch": request.headers.get("if-match")}
        raise AssertionError(f"{request.method} {path} is not in the model")

    def _size(self) -> dict[str, Any]:
        return {"ItemCount": len(self.items), "TotalSizeInBytes": 0}

    def _DescribeKeyValueStore(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (the operation's name)
        return self._size() | {"KvsARN": ARN, "Created": 0}

    def _GetKey(self, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if parameters["Key"] not in self.items:
            raise StoreError("ResourceNotFoundException")
        return self._size() | {"Key": parameters["Key"], "Value": self.items[parameters["Key"]]}

    def _ListKeys(self, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        start, count = int(parameters.get("NextToken", 0)), int(parameters.get("MaxResults", 10))
        keys = sorted(self.items)
        more = {"NextToken": str(start + count)} if start + count < len(keys) else {}
        return {"Items": [{"Key": key, "Value": self.items[key]} for key in keys[start : start + count]], **more}

    def _PutKey(self, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._check(parameters)
        self.put(parameters["Key"], parameters["Value"])
        return self._size()

    def _DeleteKey(self, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._check(parameters)
        if parameters["Key"] not in self.items:
            raise StoreError("ResourceNotFoundException")
        self.put(parameters["Key"], None)
        return self._size()

    def _check(self, parameters: dict[str, Any]) -> None:
        if parameters["IfMatch"] != self.etag:
            raise StoreError("ConflictException")
        if len(parameters.get("Value", "")) > 1024:
            raise StoreError("ValidationException")
