"""Print the layers of a repository that nobody downloaded in 30 days, by the function's log.

    python examples/unused_layers.py team/app LOG_GROUP

Needs boto3, the permissions `ecr:ListImages`, `ecr:BatchGetImage`, `logs:StartQuery` and `logs:GetQueryResults`, and
logs kept for 30 days.
"""

import json
import sys
import time

import boto3

MANIFESTS = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
]
QUERY = """fields jsonParse(@message) as line
| filter repositoryName = "{repository}" and layersResolved > 0
| unnest line.layerDigests into layerDigest
| stats count(*) as requests by layerDigest
| limit 10000"""
DAYS = 30


def stored_layers(repository: str) -> set[str]:
    """Return the digests of all layers of the images in a repository."""
    ecr = boto3.client("ecr")
    layers: set[str] = set()
    pages = ecr.get_paginator("list_images").paginate(repositoryName=repository, PaginationConfig={"PageSize": 100})
    for page in pages:
        answer = ecr.batch_get_image(repositoryName=repository, imageIds=page["imageIds"], acceptedMediaTypes=MANIFESTS)
        manifests = [json.loads(image["imageManifest"]) for image in answer["images"]]
        # An index has no layers; its images are listed as well.
        layers |= {layer["digest"] for manifest in manifests for layer in manifest.get("layers", ())}
    return layers


def requested_layers(repository: str, log_group: str) -> set[str]:
    """Return the digests of the layers whose download URL somebody got."""
    logs = boto3.client("logs")
    now = int(time.time())
    query = logs.start_query(
        logGroupName=log_group,
        startTime=now - DAYS * 86400,
        endTime=now,
        queryString=QUERY.format(repository=repository),
    )
    while True:
        answer = logs.get_query_results(queryId=query["queryId"])
        if answer["status"] not in {"Scheduled", "Running"}:
            break
        time.sleep(1)
    return {field["value"] for row in answer["results"] for field in row if field["field"] == "layerDigest"}


def main(repository: str, log_group: str) -> None:
    """Print the digests, one a line."""
    print(*sorted(stored_layers(repository) - requested_layers(repository, log_group)), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
