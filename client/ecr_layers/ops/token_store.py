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

from ecr_layers.errors import MissingPackageError, UsageError
from ecr_layers.ops import aws
from ecr_layers.ops.pull_tokens import PullToken

_ARN = re.compile(r"arn:aws:cloudfront::[0-9]{12}:key-value-store/[A-Za-z0-9_-]{1,64}")
# The store is a global service; this is the region of CloudFront's own API, and the signature is for all regions.
_REGION = "us-east-1"
_PAGE = 50
"""The most keys that the API lists at once."""
_ATTEMPTS = 10
"""How often a change is tried while others change the store."""
# Codes for a change to another version, or to a key that has been removed.
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
            UsageError: If it isn't a store's ARN, or a package is missing.
        """
        if not _ARN.fullmatch(arn):
            raise UsageError(f"{arn!r} isn't the ARN of a CloudFront KeyValueStore. It is an output of the stack.")
        _require_awscrt()
        return cls(arn, aws.create_client("cloudfront-keyvaluestore", _REGION))

    def tokens(self) -> list[PullToken]:
        """Return all tokens, by their names.

        Raises:
            UsageError: If the store refuses.
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
            UsageError: If its name is taken, or the store refuses.
        """
        value = token.value(password)

        def put(etag: str) -> None:
            found = self._value_of(token.name)
            # The answer to an earlier attempt was lost.
            if found == value:
                return
            if found is not None:
                raise UsageError(f"The name {token.name} is taken. Choose another, or revoke that token first.")
            try:
                self._client.put_key(KvsARN=self._arn, Key=token.name, Value=value, IfMatch=etag)
            except HTTPClientError as error:
                raise UsageError(
                    f"The token store didn't confirm the token {token.name}: {type(error).__name__}. If it is listed, "
                    "revoke it: its password is lost.",
                    code="token-unconfirmed",
                ) from None

        self._change(put)

    def revoke(self, name: str) -> None:
        """Remove a token.

        Raises:
            UsageError: If there is none with this name, or the store refuses.
        """
        is_known = False

        def delete(etag: str) -> None:
            nonlocal is_known
            is_there = self._value_of(name) is not None
            if not is_there and not is_known:
                raise UsageError(f"There is no token {name!r}.", code="no-token")
            is_known = True
            # At a second attempt it may be gone: removed by someone else, or the first answer was lost.
            if is_there:
                self._client.delete_key(KvsARN=self._arn, Key=name, IfMatch=etag)

        self._change(delete)

    def _change(self, change: Callable[[str], None]) -> None:
        """Change the store, and try again after someone else's change."""
        with self._errors():
            for _ in range(_ATTEMPTS):
                # Read the version first, so that a change in between is a conflict.
                etag = self._client.describe_key_value_store(KvsARN=self._arn)["ETag"]
                try:
                    return change(etag)
                except ClientError as error:
                    if aws.code_of(error) not in _CHANGED_BY_OTHERS:
                        raise
        raise UsageError("Others keep changing the token store; nothing was written. Try again.")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with aws.one_line_errors("The token store"):
            try:
                yield
            except ClientError as error:
                if aws.code_of(error) != "ResourceNotFoundException":
                    raise
                raise UsageError(f"There is no token store {self._arn}.", code="no-token-store") from None

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
        raise MissingPackageError("Tokens need", "ops")
