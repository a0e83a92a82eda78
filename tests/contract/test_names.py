"""Client, function and edge accept the same names of repositories, digests, accounts and scopes."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from ecr_layers.errors import UsageError
from ecr_layers.oci.references import Repository, is_digest
from ecr_layers.ops.token_scope import check_scope
from layer_resolver import models

REPOSITORIES = [
    "app", "team/app", "a/b/c", "a.b", "a_b", "a__b", "a-b", "a---b", "0", "a" * 256,
    "", "a" * 257, "AB", "team/App", "/a", "a/", "a//b", "a___b", "a..b", "a._b", "-a", "a-", "a b", "a\n",
    "äb", "a:b", "a@b",
]  # fmt: skip
DIGESTS = [f"sha256:{'0' * 64}", f"sha512:{'a' * 128}"]


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_repository_is_one_for_client_function_and_tokens(name: str) -> None:
    is_function = accepts(
        lambda: models.DownloadUrlRequest.model_validate({"repositoryName": name, "layerDigest": DIGESTS[0]})
    )
    is_client = accepts(lambda: Repository.parse(name))
    is_scope = accepts(lambda: check_scope([name], ["*"], []))
    assert is_function == is_scope
    # The service refuses names of one character, and explains it.
    assert is_client == (is_function or len(name) == 1 or len(name) == 257)


@pytest.mark.parametrize("digest", DIGESTS)
def test_a_digest_of_the_client_is_one_for_the_function(digest: str) -> None:
    assert is_digest(digest)
    assert models.is_registered_digest(digest)


def accepts(check: Callable[[], object]) -> bool:
    try:
        check()
    except (UsageError, ValidationError):
        return False
    return True
