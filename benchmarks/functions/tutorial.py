"""The function as Powertools' documentation builds one: resolver with validation, Logger, Metrics and Parser.

It has the product's two triggers. A request goes through the resolver, an event through Parser.
Sources: https://docs.aws.amazon.com/powertools/python/latest/core/event_handler/api_gateway/,
https://docs.aws.amazon.com/powertools/python/latest/utilities/parser/
"""

from typing import Annotated, Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver
from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import BaseModel, parse
from aws_lambda_powertools.utilities.parser.models import EventBridgeModel
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="tutorial")
metrics = Metrics(namespace="benchmark", service="tutorial")
app = LambdaFunctionUrlResolver(enable_validation=True)
ecr = boto3.client("ecr")


class Layer(BaseModel):
    """A layer to resolve."""

    repositoryName: str  # noqa: N815
    layerDigest: str  # noqa: N815


class LayerEvent(EventBridgeModel):
    """An event that asks for a layer."""

    detail: Layer


class DownloadUrl(BaseModel):
    """Where to download a layer."""

    downloadUrl: str  # noqa: N815


@app.get("/download-url")
def get_download_url(layer: Annotated[Layer, Query()]) -> DownloadUrl:
    """Answer with the download URL of the layer in the query."""
    return resolve(layer)


def resolve(layer: Layer) -> DownloadUrl:
    """Ask ECR, log the layer and count it."""
    logger.info("Resolving a layer", extra=layer.model_dump())
    answer = ecr.get_download_url_for_layer(repositoryName=layer.repositoryName, layerDigest=layer.layerDigest)
    metrics.add_metric(name="LayersResolved", unit=MetricUnit.Count, value=1)
    return DownloadUrl(downloadUrl=answer["downloadUrl"])


@logger.inject_lambda_context(correlation_id_path=correlation_paths.LAMBDA_FUNCTION_URL)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request to the function URL, or an event from EventBridge."""
    if "rawPath" in event:
        return app.resolve(event, context)
    return resolve(parse(event, model=LayerEvent).detail).model_dump()
