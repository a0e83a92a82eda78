"""boto3 alone, for one layer or many: one call after the other, and short time-outs so that a hanging call ends."""

import json
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

ecr = boto3.client("ecr", config=Config(read_timeout=0.5, retries={"total_max_attempts": 1}))


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Answer with the download URL of each layer in the body or the query that ECR answers for."""
    request = json.loads(event["body"]) if "body" in event else event["queryStringParameters"]
    digests = request.get("layerDigests") or [request["layerDigest"]]
    urls = [url for digest in digests if (url := _download_url(request["repositoryName"], digest))]
    return {"statusCode": 200 if urls else 504, "body": json.dumps({"downloadUrls": urls})}


def _download_url(repository: str, digest: str) -> dict[str, str] | None:
    try:
        answer = ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=digest)
    except ReadTimeoutError:
        return None
    return {"downloadUrl": answer["downloadUrl"], "layerDigest": digest}
