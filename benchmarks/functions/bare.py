"""The least code that resolves a layer: boto3 alone."""

import json
from typing import Any

import boto3

ecr = boto3.client("ecr")


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Answer with the download URL of the layer in the query."""
    query = event["queryStringParameters"]
    answer = ecr.get_download_url_for_layer(repositoryName=query["repositoryName"], layerDigest=query["layerDigest"])
    return {"statusCode": 200, "body": json.dumps({"downloadUrl": answer["downloadUrl"]})}
