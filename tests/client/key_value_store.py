"""A KeyValueStore that others write to, that loses answers, and that fails."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from local.key_value_store import KeyValueStore, StoreError

_SIGNED = re.compile(r"AWS4-ECDSA-P256-SHA256 Credential=[^/]+/[0-9]{8}/cloudfront-keyvaluestore/aws4_request, .*")


class UnreliableStore(KeyValueStore):
    """A store that tells what it was asked, and is signed for.

    Attributes:
        calls: The operations that were asked for.
        before: Called with an operation's name before it is performed; it can raise a StoreError, or change the store.
        after: Called likewise when the operation has been performed, but not answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None

    def perform(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append(operation)
        self.before(operation)
        answer = super().perform(operation, parameters)
        self.after(operation)
        return answer

    def once_before(self, operation: str, effect: Callable[[], None]) -> None:
        """Have something happen before the first time that an operation is performed."""

        def before(name: str) -> None:
            if name == operation:
                self.before = lambda _: None
                effect()

        self.before = before

    def lose_first_answer(self, operation: str) -> None:
        """Perform an operation the first time without answering well."""

        def after(name: str) -> None:
            if name == operation:
                self.after = lambda _: None
                raise StoreError("InternalServerException")

        self.after = after

    def refuse(self, code: str) -> None:
        """Refuse everything from now on."""

        def before(_: str) -> None:
            raise StoreError(code)

        self.before = before

    def app(self) -> ASGIApp:
        app = super().app()

        async def signed(scope: Scope, receive: Receive, send: Send) -> None:
            headers = Request(scope).headers
            assert _SIGNED.fullmatch(headers["authorization"])
            assert headers["x-amz-region-set"] == "*"
            await app(scope, receive, send)

        return signed
