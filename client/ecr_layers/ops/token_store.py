"""The store of pull tokens: a CloudFront KeyValueStore, through its own API.

The function at the edge reads the same store; a change reaches all edge locations within seconds:
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions.html
"""

import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError

from ecr_layers.errors import UsageError
from ecr_layers.ops import aws
from ecr_layers.ops.pull_tokens import PullToken

_ARN = re.compile(r"arn:aws:cloudfront::[0-9]{12}:key-value-store/[A-Za-z0-9_-]{1,64}")
# The store is a global service; this is the region of CloudFront's own API, and the signature is for all regions.
_REGION = "us-east-1"
_PAGE = 50
"""The most keys that the API lists at once."""
_ATTEMPTS = 10
"""How often a change is tried while others change the store."""
# What a change to another version, or to a key that is gone by now, is answered.
_CHANGED_BY_OTHERS = frozenset({"ConflictException", "ResourceNotFoundException"})


class TokenStore:
    """The pull tokens of one deployment.

    Args:
        arn: The store's ARN.
        client: botocore's client of the service `cloudfront-keyvaluestore`.
    """

    def __init__(self, arn: str, client: Any) -> None:
        self._arn = arn
        self._client = client

    @classmethod
    def open(cls, arn: str) -> "TokenStore":
        """Return the store with an ARN.

        Raises:
            UsageError: If it is no store's ARN, or if a package is missing.
        """
        if not _ARN.fullmatch(arn):
            raise UsageError(f"{arn!r} is not the ARN of a CloudFront KeyValueStore. The stack has it as an output.")
        _require_awscrt()
        return cls(arn, aws.create_client("cloudfront-keyvaluestore", _REGION))

    def tokens(self) -> list[PullToken]:
        """Return all tokens, by their names.

        Raises:
            UsageError: If the store does not answer.
        """
        tokens: list[PullToken] = []
        page: dict[str, Any] = {"NextToken": None}
        with self._errors():
            while "NextToken" in page:
                following = {"NextToken": page["NextToken"]} if page["NextToken"] else {}
                page = self._client.list_keys(KvsARN=self._arn, MaxResults=_PAGE, **following)
                tokens += [PullToken.read(item["Key"], item["Value"]) for item in page.get("Items", [])]
        return sorted(tokens, key=lambda token: token.name)

    def add(self, token: PullToken, password: str) -> None:
        """Add a token.

        Raises:
            UsageError: If its name is taken, or if the store does not answer.
        """
        value = token.value(password)

        def put(etag: str) -> None:
            found = self._value_of(token.name)
            # An answer that was lost on its way made this attempt a second one.
            if found == value:
                return
            if found is not None:
                raise UsageError(f"The name {token.name} is taken. Choose another, or revoke that token first.")
            try:
                self._client.put_key(KvsARN=self._arn, Key=token.name, Value=value, IfMatch=etag)
            except HTTPClientError as error:
                raise UsageError(
                    f"The token store did not say whether it has added {token.name}: {type(error).__name__}. If "
                    "`ecr-layers token list` has it, revoke it: nobody knows its password."
                ) from None

        self._change(put)

    def revoke(self, name: str) -> None:
        """Remove a token.

        Raises:
            UsageError: If there is none with this name, or if the store does not answer.
        """
        is_known = False

        def delete(etag: str) -> None:
            nonlocal is_known
            is_there = self._value_of(name) is not None
            if not is_there and not is_known:
                raise UsageError(f"There is no token {name!r}. `ecr-layers token list` lists them.")
            is_known = True
            # It can be gone at a second attempt: another one has removed it, or the answer to the first was lost.
            if is_there:
                self._client.delete_key(KvsARN=self._arn, Key=name, IfMatch=etag)

        self._change(delete)

    def _change(self, change: Callable[[str], None]) -> None:
        """Make a change to the version of the store that it is about, anew if another one came in between."""
        with self._errors():
            for _ in range(_ATTEMPTS):
                # The version first: what is read afterwards is at least as new, and a change in between is a conflict.
                etag = self._client.describe_key_value_store(KvsARN=self._arn)["ETag"]
                try:
                    return change(etag)
                except ClientError as error:
                    if aws.code_of(error) not in _CHANGED_BY_OTHERS:
                        raise
        raise UsageError("The token store is being changed by others all the time, and nothing was written. Try again.")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with aws.one_line_errors("The token store"):
            try:
                yield
            except ClientError as error:
                if aws.code_of(error) != "ResourceNotFoundException":
                    raise
                raise UsageError(f"There is no token store {self._arn}. Check --store, or name the --stack.") from None

    def _value_of(self, name: str) -> str | None:
        try:
            value: str = self._client.get_key(KvsARN=self._arn, Key=name)["Value"]
        except ClientError as error:
            if aws.code_of(error) == "ResourceNotFoundException":
                return None
            raise
        return value


def _require_awscrt() -> None:
    if importlib.util.find_spec("awscrt") is None:
        raise UsageError("Tokens need one more package: pip install 'ecr-layers[token]'")
