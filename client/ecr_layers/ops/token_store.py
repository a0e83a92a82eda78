"""The store of pull tokens: a CloudFront KeyValueStore, through its own API.

The function at the edge reads the same store; a change reaches all edge locations within seconds:
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions.html
"""

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError

from ecr_layers.errors import MissingPackageError, UsageError
from ecr_layers.ops import aws
from ecr_layers.ops.pull_tokens import PullToken, check_key, entry_of, is_key

_ARN = re.compile(r"arn:aws:cloudfront::[0-9]{12}:key-value-store/[A-Za-z0-9_-]{1,64}")
# The store is a global service; this is the region of CloudFront's own API, and the signature is for all regions.
_REGION = "us-east-1"
_PAGE = 50
"""The most keys that the API lists or changes at once."""
_MOST_PAGES = 2000
"""More than the 5 MB of a store can have."""
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
        client = aws.create_client("cloudfront-keyvaluestore", _REGION)
        client.meta.events.register("before-sign.cloudfront-keyvaluestore", _without_account_at_localhost)
        return cls(arn, client)

    def entries(self) -> dict[str, str]:
        """Return the entries of all tokens, by the tokens' names.

        Raises:
            UsageError: If the store refuses.
        """
        entries: dict[str, str] = {}
        following: dict[str, Any] = {}
        with self._errors():
            for _ in range(_MOST_PAGES):
                page = aws.call(self._client, "ListKeys", KvsARN=self._arn, MaxResults=_PAGE, **following)
                entries |= {item["Key"]: item["Value"] for item in page.get("Items", []) if is_key(item["Key"])}
                if not page.get("NextToken"):
                    return dict(sorted(entries.items()))
                following = {"NextToken": page["NextToken"]}
        raise UsageError("The token store's list doesn't end. Check the network, proxies and AWS_ENDPOINT_URL.")

    def tokens(self) -> list[PullToken]:
        """Return all tokens, by their names.

        Raises:
            UsageError: If the store refuses.
        """
        return [PullToken.read(name, value) for name, value in self.entries().items()]

    def add(self, token: PullToken, password: str) -> None:
        """Add a token.

        Raises:
            UsageError: If its name is taken, or the store refuses.
        """
        value = token.value(password)

        def added(found: str | None) -> str:
            if found is not None:
                raise UsageError(f"The name {token.name} is taken. Choose another, or revoke that token first.")
            return value

        self._update(token.name, added)

    def change(self, name: str, change: Callable[[str], str]) -> tuple[str, str]:
        """Change a token's entry, and return it as it was and as it is.

        Args:
            name: The token's name.
            change: Makes the new entry of the old one. It can be called several times.

        Raises:
            UsageError: If there is none with this name, or the store refuses.
        """
        before = after = ""

        def changed(found: str | None) -> str:
            nonlocal before, after
            if found is None:
                raise _no_token(name)
            before, after = found, change(found)
            return after

        self._update(name, changed)
        return before, after

    def revoke(self, name: str) -> None:
        """Remove a token.

        Raises:
            UsageError: If there is none with this name, or the store refuses.
        """

        def removed(found: str | None) -> None:
            if found is None:
                raise _no_token(name)

        self._update(name, removed)

    def put_all(self, entries: Mapping[str, str], *, overwrites: bool = False) -> int:
        """Write entries, at most 50 at once, and return how many the store didn't have.

        Args:
            entries: Entries by the names of their tokens.
            overwrites: Whether to replace other entries that have these names.

        Raises:
            UsageError: If a name is taken, or the store refuses.
        """
        there = self.entries()
        missing = [(name, value) for name, value in entries.items() if not _is_same(there.get(name), value)]
        taken = [name for name, _ in missing if name in there]
        if taken and not overwrites:
            raise UsageError(
                f"The store has other tokens of these names: {' '.join(taken)}. Nothing was written.",
                code="tokens-taken",
            )
        for start in range(0, len(missing), _PAGE):
            self._put_page(dict(missing[start : start + _PAGE]), there)
        return len(missing)

    def _put_page(self, page: Mapping[str, str], there: Mapping[str, str]) -> None:
        def put(etag: str) -> None:
            found = self.entries()
            changed = [name for name, value in page.items() if found.get(name) not in (there.get(name), value)]
            if changed:
                raise UsageError(f"Someone else changed {' '.join(changed)} meanwhile. Run it again.")
            puts = [{"Key": name, "Value": value} for name, value in page.items()]
            aws.call(self._client, "UpdateKeys", KvsARN=self._arn, Puts=puts, IfMatch=etag)

        self._change(put)

    def entry(self, key: str) -> str | None:
        """Return the entry under a key, of a token or not; None if there is none.

        Raises:
            UsageError: If the store refuses.
        """
        with self._errors():
            return self._value_of(key)

    def _update(self, name: str, decide: Callable[[str | None], str | None]) -> None:
        check_key(name)
        self.replace_entry(name, decide)

    def replace_entry(self, name: str, decide: Callable[[str | None], str | None]) -> None:
        """Replace the entry under a key, of a token or not.

        Args:
            name: The key.
            decide: Makes the new entry of the old one; None for no entry. It can be called several times.

        Raises:
            UsageError: If the store refuses.
        """
        tried: list[str | None] = []

        def update(etag: str) -> None:
            found = self._value_of(name)
            # The answer to an earlier attempt was lost.
            if tried and found == tried[-1]:
                return
            value = decide(found)
            if value != found:
                tried.append(value)
                self._put(name, value, etag)

        self._change(update)

    def _put(self, name: str, value: str | None, etag: str) -> None:
        try:
            if value is None:
                aws.call(self._client, "DeleteKey", KvsARN=self._arn, Key=name, IfMatch=etag)
            else:
                aws.call(self._client, "PutKey", KvsARN=self._arn, Key=name, Value=value, IfMatch=etag)
        except HTTPClientError as error:
            raise UsageError(
                f"The token store didn't confirm the change of {name}: {type(error).__name__}. If it was made, a new "
                "password is lost: revoke the token, or rotate it again.",
                code="token-unconfirmed",
            ) from None

    def _change(self, change: Callable[[str], None]) -> None:
        """Change the store, and try again after someone else's change."""
        with self._errors():
            for _ in range(_ATTEMPTS):
                # Read the version first, so that a change in between is a conflict.
                etag = aws.call(self._client, "DescribeKeyValueStore", KvsARN=self._arn)["ETag"]
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
            value: str = aws.call(self._client, "GetKey", KvsARN=self._arn, Key=name)["Value"]
        except ClientError as error:
            if aws.code_of(error) == "ResourceNotFoundException":
                return None
            raise
        return value


def _is_same(left: str | None, right: str) -> bool:
    return left is not None and (left == right or entry_of(left) == entry_of(right))


def _no_token(name: str) -> UsageError:
    return UsageError(f"There is no token {name!r}.", code="no-token")


def _without_account_at_localhost(request: Any, **_: Any) -> None:
    """Take the account off a host such as `123456789012.localhost`, which many systems can't resolve."""
    request.url = re.sub(r"^(https?://)[0-9]{12}\.(?=localhost[:/])", r"\1", request.url)


def _require_awscrt() -> None:
    if importlib.util.find_spec("awscrt") is None:
        raise MissingPackageError("Tokens need", "ops")
