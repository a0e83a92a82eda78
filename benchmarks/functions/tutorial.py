"""The function as Powertools' tutorial builds one: its resolver and its logger, the tracer off.

Source: https://docs.aws.amazon.com/powertools/python/latest/tutorial/
"""

from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="tutorial")
app = LambdaFunctionUrlResolver()
ecr = boto3.client("ecr")


@app.get("/download-url")
def get_download_url() -> dict[str, str]:
    """Answer with the download URL of the layer in the query."""
    repository = app.current_event.query_string_parameters["repositoryName"]
    digest = app.current_event.query_string_parameters["layerDigest"]
    logger.info("Request for a layer", extra={"repositoryName": repository, "layerDigest": digest})
    answer = ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=digest)
    return {"downloadUrl": answer["downloadUrl"]}


@logger.inject_lambda_context(correlation_id_path=correlation_paths.LAMBDA_FUNCTION_URL)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer any route."""
    return app.resolve(event, context)
