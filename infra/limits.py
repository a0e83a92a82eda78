"""Limits of AWS that a resolver's options can exceed, checked before a deployment fails on them.

Sizes are estimates on the safe side, because names and ids are only known after the deployment.
"""

import json
from collections.abc import Iterator
from typing import Any

from .options import Options
from .regions import Region

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: white space does not count.
INLINE_POLICIES = 10_240
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
EVENT_PATTERN = 2_048
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ENVIRONMENT = 4 * 1024
RESOURCE_POLICY = 20 * 1024
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html#limits-functions
EDGE_FUNCTION = 10 * 1024

# The role's statements without the repositories, with names as long as CloudFormation makes them.
_OTHER_STATEMENTS = 1_500
# A statement of a permission with its id and conditions, without the principal.
_PERMISSION = 400
_LONGEST_REGION = "ap-southeast-1"


def too_large(
    options: Options, region: Region, *, environment: dict[str, str], principals: list[str], edge_function: str
) -> Iterator[str]:
    """Give a message for each limit that the options exceed: the limit, and how to stay below.

    Args:
        options: The options.
        region: Where the stack is.
        environment: The function's environment variables.
        principals: The principal of each statement in the function's resource policy.
        edge_function: The code at the edge.
    """
    size = policy_characters(options, region)
    if size > INLINE_POLICIES:
        yield (
            f"The policies of the function's role have about {size:,} characters; IAM allows {INLINE_POLICIES:,}. Name "
            "fewer repositories: prefixes such as team/* stand for many, and registries repeat all of them."
        )
    yield from _patterns(options)
    size = sum(len(f"{name}{value}".encode()) for name, value in environment.items())
    if size > ENVIRONMENT:
        yield (
            f"The function's environment has {size:,} bytes; Lambda allows {ENVIRONMENT:,}. Name fewer registries or "
            "download URL hosts, or deploy a second resolver for the others."
        )
    size = sum(_PERMISSION + len(principal) for principal in principals)
    if size > RESOURCE_POLICY:
        yield (
            f"The function's resource policy has about {size:,} bytes; Lambda allows {RESOURCE_POLICY:,}. Allow fewer "
            "principals: an account id stands for all of its roles and users, an organisation id for all of its "
            "accounts."
        )
    size = len(edge_function.encode())
    if size > EDGE_FUNCTION:
        yield (
            f"The function at the edge has {size:,} bytes; CloudFront allows {EDGE_FUNCTION:,}. Name fewer public "
            "repositories or allowed origins: prefixes such as team/* stand for many repositories."
        )


def pushes(options: Options) -> dict[str, Any]:
    """Return the `detail` of an event pattern for images that were pushed to the repositories."""
    detail: dict[str, Any] = {"action-type": ["PUSH"], "result": ["SUCCESS"]}
    if "*" not in options.repositories:
        detail["repository-name"] = [
            {"prefix": name.removesuffix("*")} if name.endswith("*") else name for name in options.repositories
        ]
    return detail


def policy_characters(options: Options, region: Region) -> int:
    """Return how many characters the role's policies have at most."""
    names = [name for _ in range(1 + len(options.registries)) for name in options.repositories]
    names += options.imported_repositories()
    arn = f'"arn:{region.partition}:ecr:{region.name or _LONGEST_REGION}:123456789012:repository/",'
    return _OTHER_STATEMENTS + sum(len(arn) + len(name) for name in names)


def _patterns(options: Options) -> Iterator[str]:
    patterns = {
        ("requests", "Name fewer event sources."): {"source": options.event_sources},
        ("images that are pushed", "Name fewer repositories: prefixes such as team/* stand for many."): (
            {"source": ["aws.ecr"], "detail": pushes(options)} if options.image_pull else {}
        ),
    }
    for (purpose, remedy), pattern in patterns.items():
        # The detail-type that both have in addition is shorter than 60 characters.
        size = len(json.dumps(pattern, separators=(",", ":"))) + 60
        if size > EVENT_PATTERN:
            yield (
                f"The event pattern for {purpose} has about {size:,} characters; EventBridge allows {EVENT_PATTERN:,}. "
                f"{remedy}"
            )
