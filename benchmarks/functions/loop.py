"""The least that resolves many layers: one call after the other."""

import json
from typing import Any

import boto3

ecr = boto3.client("ecr")


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Answer with the download URL of each layer in the body."""
    request = json.loads(event["body"])
    answers = [
        ecr.get_download_url_for_layer(repositoryName=request["repositoryName"], layerDigest=digest)
        for digest in request["layerDigests"]
    ]
    urls = [{"downloadUrl": each["downloadUrl"], "layerDigest": each["layerDigest"]} for each in answers]
    return {"statusCode": 200, "body": json.dumps({"downloadUrls": urls})}
