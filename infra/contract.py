"""What the stack and the function have to agree on, though neither imports the other; tests/contract compares both."""

HANDLER = "layer_resolver.handler.lambda_handler"
ALIAS = "live"

REQUEST_DETAIL_TYPE = "ECR Layer Download URL Request"
PUSH_DETAIL_TYPE = "ECR Image Action"

# The environment variables that the stack sets.
LOG_LEVEL = "POWERTOOLS_LOG_LEVEL"
STACK_NAME = "STACK_NAME"
MAXIMUM_RESULT_KILOBYTES = "MAXIMUM_RESULT_KILOBYTES"
ALLOWED_REGISTRIES = "ALLOWED_REGISTRIES"
IMAGE_PULL = "IMAGE_PULL"
LIST_TAGS = "LIST_TAGS"
USE_DUALSTACK_ENDPOINT = "AWS_USE_DUALSTACK_ENDPOINT"
"""botocore's own: https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html"""

# The function's metrics, and their dimensions.
NAMESPACE = "EcrLayerResolver"
SERVICE = "ecr-layer-resolver"
SERVICE_DIMENSION = "service"
STACK_DIMENSION = "stack"
CODE_DIMENSION = "code"
LAYERS_RESOLVED = "LayersResolved"
CACHE_HITS = "CacheHits"
ECR_CALL_LATENCY = "EcrCallLatency"
COLD_START = "ColdStart"
LAYERS_FAILED = "LayersFailed"
REQUESTS_FAILED = "RequestsFailed"

# The codes that are the service's own or its operator's to mend. A client can mend all others by asking for something
# else.
THROTTLED = "ThrottlingException"
OPERATORS_CODES = (
    THROTTLED,
    "AccessDeniedException",
    "CredentialsRefused",
    "InternalError",
    "RequestTimeoutException",
    "ServerException",
)
OPERATORS_CODES_BELOW_500 = (THROTTLED, "AccessDeniedException")
"""Those of them that a request as a whole is answered with below 500, so that no count of 5xx has them."""
