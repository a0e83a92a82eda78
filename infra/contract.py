"""What the stack and the function have to agree on, though neither imports the other; tests/contract compares both."""

HANDLER = "layer_resolver.handler.lambda_handler"
ALIAS = "live"

REQUEST_DETAIL_TYPE = "ECR Layer Download URL Request"
PUSH_DETAIL_TYPE = "ECR Image Action"
PULL_DETAIL_TYPE = "ECR Layer Pull"
PULL_SOURCE = "ecr-layer-resolver"

# What the function reads of requests that the edge passes on.
TOKEN_HEADER = "x-ecr-layers-token"  # noqa: S105
RULE_HEADER = "x-ecr-layers-rule"
TOKEN_ID_HEADER = "x-ecr-layers-token-id"  # noqa: S105
HOST_HEADER = "x-ecr-layers-host"
VIEWER_ADDRESS_HEADER = "cloudfront-viewer-address"
DISTRIBUTION_HEADER = "x-amz-source-arn"

# The same for the exchange function, which gets the client's own Authorization so: CloudFront overwrites the real one.
EXCHANGE_HANDLER = "token_exchange.handler.lambda_handler"
AUTHORIZATION_HEADER = "x-ecr-layers-authorization"
TRUST_RULES = "TRUST_RULES"
SIGNING_KEY_SECRET = "SIGNING_KEY_SECRET"  # noqa: S105

# The environment variables that the stack sets.
LOG_LEVEL = "POWERTOOLS_LOG_LEVEL"
STACK_NAME = "STACK_NAME"
MAXIMUM_RESULT_KILOBYTES = "MAXIMUM_RESULT_KILOBYTES"
ALLOWED_REGISTRIES = "ALLOWED_REGISTRIES"
IMAGE_PULL = "IMAGE_PULL"
LIST_TAGS = "LIST_TAGS"
DOWNLOAD_URL_HOSTS = "DOWNLOAD_URL_HOSTS"
EDGE_DISTRIBUTION_ARN = "EDGE_DISTRIBUTION_ARN"
"""The ARN of the distribution in front, or `arn:…:distribution/*` for those of an account: the distribution needs the
function URL, which needs a version of the function, whose environment therefore can't name the distribution."""
EDGE_LAYERS_ORIGIN = "EDGE_LAYERS_ORIGIN"
PULL_EVENT_BUS = "PULL_EVENT_BUS"
USE_DUALSTACK_ENDPOINT = "AWS_USE_DUALSTACK_ENDPOINT"
"""botocore's own: https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html"""

# The function's metrics, and their dimensions.
NAMESPACE = "EcrLayerResolver"
SERVICE = "ecr-layer-resolver"
SERVICE_DIMENSION = "service"
STACK_DIMENSION = "stack"
FUNCTION_NAME_DIMENSION = "function_name"
"""On `ColdStart`, which Powertools writes, instead of the stack:
https://docs.aws.amazon.com/powertools/python/latest/core/metrics/#capturing-cold-start-metric"""
CODE_DIMENSION = "code"
CALLER_KIND_DIMENSION = "callerKind"
OUTCOME_DIMENSION = "outcome"
LAYERS_RESOLVED = "LayersResolved"
CACHE_HITS = "CacheHits"
ECR_CALL_LATENCY = "EcrCallLatency"
COLD_START = "ColdStart"
LAYERS_FAILED = "LayersFailed"
REQUESTS_FAILED = "RequestsFailed"
REQUESTS = "Requests"
PULL_EVENTS_FAILED = "PullEventsFailed"

# Codes that only the operator, or AWS, can fix. Clients cause all others.
THROTTLED = "ThrottlingException"
ACCESS_DENIED = "AccessDeniedException"
OPERATORS_CODES = (
    THROTTLED,
    ACCESS_DENIED,
    "CredentialsRefused",
    "InternalError",
    "RequestTimeoutException",
    "ServerException",
)
OPERATORS_CODES_BELOW_500 = (THROTTLED, ACCESS_DENIED)
"""Those of them that a request as a whole is answered with below 500, so that no count of 5xx has them."""
