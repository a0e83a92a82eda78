"""Answers an operator's commands for AWS, at one endpoint for `AWS_ENDPOINT_URL`.

It answers for a deployed stack: CloudFormation, the configuration of its function, CloudWatch Logs Insights, the
KeyValueStore and Secrets Manager. Signatures are not looked at.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from local.function_log import FunctionLog, QueryError
from local.key_value_store import KeyValueStore
from local.secrets_manager import SECRETS_MANAGER, Secret

LOG_GROUP = "/aws/lambda/ecr-layer-resolver"


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack. Its template's metadata has the settings."""

    name: str
    outputs: Mapping[str, str]
    settings: Mapping[str, Any]


class ApiError(Exception):
    """A request is answered with an error: code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OperatorApi:
    """Answers the requests of `ecr-layers token`."""

    def __init__(self, stack: Stack, store: KeyValueStore, log: FunctionLog, secret: Secret | None = None) -> None:
        self._stack = stack
        self._store = store
        self._log = log
        self._secret = secret
        self._rows: dict[str, list[dict[str, str]]] = {}

    def app(self) -> Starlette:
        """Return the application that speaks for AWS over HTTP."""
        return Starlette(
            routes=[
                Route("/", self._answer, methods=["POST"]),
                # https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html
                Route("/2015-03-31/functions/{name:path}/configuration", self._configuration),
                Mount("/", self._store.app()),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        target = request.headers.get("x-amz-target")
        if target is None:
            form = dict(parse_qsl((await request.body()).decode()))
            return self._answer_form(form["Action"], form["StackName"])
        if self._secret and target.startswith(SECRETS_MANAGER):
            return await self._secret.answer(request)
        try:
            answer = self._answer_target(target, await request.json())
        except ApiError as error:
            return JSONResponse({"__type": error.code, "message": str(error)}, 400)
        return JSONResponse(answer, media_type="application/x-amz-json-1.1")

    def _answer_form(self, action: str, stack: str) -> Response:
        """Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Operations.html."""
        if stack != self._stack.name:
            content = _element("Code", "ValidationError") + _element("Message", f"Stack with id {stack} does not exist")
            return Response(_element("ErrorResponse", _element("Error", content)), 400, media_type="text/xml")
        result = self._template() if action == "GetTemplate" else self._description()
        return Response(_element(f"{action}Response", _element(f"{action}Result", result)), media_type="text/xml")

    def _description(self) -> str:
        outputs = "".join(
            _element("member", _element("OutputKey", escape(key)) + _element("OutputValue", escape(value)))
            for key, value in self._stack.outputs.items()
        )
        stack = (
            _element("StackName", escape(self._stack.name))
            + _element("CreationTime", "2026-01-01T00:00:00Z")
            + _element("StackStatus", "CREATE_COMPLETE")
            + _element("Outputs", outputs)
        )
        return _element("Stacks", _element("member", stack))

    def _template(self) -> str:
        return _element("TemplateBody", escape(json.dumps({"Metadata": self._stack.settings})))

    def _answer_target(self, target: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_Operations.html."""
        match target.removeprefix("Logs_20140328."):
            case "StartQuery":
                return self._start_query(parameters)
            case "GetQueryResults":
                rows = self._rows.pop(parameters["queryId"])
                results = [[{"field": name, "value": value} for name, value in row.items() if value] for row in rows]
                return {"status": "Complete", "results": results}
            case _:
                raise ApiError("UnknownOperationException", target)

    def _start_query(self, parameters: dict[str, Any]) -> dict[str, Any]:
        if parameters["logGroupName"] != LOG_GROUP:
            raise ApiError("ResourceNotFoundException", "The specified log group does not exist.")
        try:
            rows = self._log.usage(parameters["queryString"], parameters["startTime"], parameters["endTime"])
        except QueryError:
            raise ApiError("MalformedQueryException", "Only the query of `token usage` is known here.") from None
        query_id = secrets.token_hex(16)
        self._rows[query_id] = rows
        return {"queryId": query_id}

    def _configuration(self, request: Request) -> Response:
        if request.path_params["name"] != self._stack.outputs["FunctionArn"]:
            headers = {"x-amzn-ErrorType": "ResourceNotFoundException"}
            return JSONResponse({"Type": "User", "Message": "Function not found"}, 404, headers)
        return JSONResponse({"LoggingConfig": {"LogFormat": "JSON", "LogGroup": LOG_GROUP}})


def _element(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>"
