"""The Lambda function with its role, log group, version, alias and function URL."""

from dataclasses import dataclass

from aws_cdk import Acknowledgment, Aws, Duration, RemovalPolicy, Stack, Validations
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from . import contract
from .asset import function_code
from .options import Options
from .regions import Region

# Lambda drops whatever is below its own level, and takes lines without a level, such as metrics, for INFO; so its level
# must not be above INFO, and the function itself leaves out what WARNING and ERROR leave out.
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
_APPLICATION_LOG_LEVELS = {
    "DEBUG": lambda_.ApplicationLogLevel.DEBUG,
    "INFO": lambda_.ApplicationLogLevel.INFO,
    "WARNING": lambda_.ApplicationLogLevel.INFO,
    "ERROR": lambda_.ApplicationLogLevel.INFO,
}
# Lambda's own lines: start, end and report of each invocation are INFO.
_SYSTEM_LOG_LEVELS = {
    "DEBUG": lambda_.SystemLogLevel.DEBUG,
    "INFO": lambda_.SystemLogLevel.INFO,
    "WARNING": lambda_.SystemLogLevel.WARN,
    "ERROR": lambda_.SystemLogLevel.WARN,
}

# What a browser has to send with a signed request, and for a conditional one, beside what it may always send.
# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
_CORS_REQUEST_HEADERS = (
    # A list of media types of manifests is longer than the 128 bytes that need no leave:
    # https://fetch.spec.whatwg.org/#cors-safelisted-request-header
    "accept",
    "authorization",
    "content-type",
    "if-none-match",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
)
# What clients read of the answers, beside what browsers always show.
_CORS_ANSWER_HEADERS = (
    "docker-content-digest",
    "docker-distribution-api-version",
    "etag",
    "link",
    "oci-filters-applied",
    "oci-subject",
    "retry-after",
)


class ResolverFunction(Construct):
    """The function behind its alias and function URL.

    Args:
        scope: The resolver.
        construct_id: The id.
        options: The resolver's options.
        region: Where the stack is.
        name: The resolver's name, a dimension of its metrics.
        retention: How long logs are kept.
        code: The function's package; None for the one that comes with the construct.

    Attributes:
        log_group: The function's log group.
        function: The function; callers and triggers invoke its alias.
        alias: The alias `live` of the newest version.
        url: The function URL of the alias.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        options: Options,
        region: Region,
        name: str,
        retention: "LogRetention",
        code: lambda_.Code | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.log_group = retention.log_group(self)
        self.function = self._function(options, name, code or function_code(self, "layer_resolver"))
        self.alias = lambda_.Alias(self, "Alias", alias_name=contract.ALIAS, version=self.function.current_version)
        self.url = self.alias.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType[options.auth_type], cors=_cors(options.allowed_origins)
        )
        _acknowledge(
            self.function, "Annotation::@aws-cdk/aws-lambda:snapStartRequirePublish", "The alias publishes a version."
        )
        # CDK validates templates against lists that are older than AWS's documentation.
        if region.has_snap_start:
            _acknowledge(self.function, "CloudFormation-Validate::E2530", f"{region.name} has SnapStart for Python.")
        if region.has_function_urls:
            _acknowledge(self.url, "CloudFormation-Validate::F3006", f"{region.name} has function URLs.")

    def _function(self, options: Options, name: str, code: lambda_.Code) -> lambda_.Function:
        return lambda_.Function(
            self,
            "Function",
            description="Resolves layers of Amazon ECR repositories into pre-signed download URLs",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler=contract.HANDLER,
            code=code,
            role=self._role(options),
            # An alias can go back to a version that is kept, but SnapStart bills the snapshot of each.
            current_version_options=lambda_.VersionOptions(
                removal_policy=RemovalPolicy.RETAIN if options.keep_versions else RemovalPolicy.DESTROY
            ),
            memory_size=options.memory_size,
            timeout=Duration.seconds(options.timeout_seconds),
            reserved_concurrent_executions=options.concurrency,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if options.snap_start else None,
            tracing=lambda_.Tracing.ACTIVE if options.tracing else None,
            environment=_environment(options, name),
            log_group=self.log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            application_log_level_v2=_APPLICATION_LOG_LEVELS[options.log_level],
            system_log_level_v2=_SYSTEM_LOG_LEVELS[options.log_level],
        )

    def _role(self, options: Options) -> iam.Role:
        """Return the execution role, with every permission in ECR."""
        stack = Stack.of(self)
        policies = {
            # One statement, because a role's policies may have 10,240 characters, and the ARNs are most of them.
            "ReadRepositories": _allow(_ecr_actions(options), _repository_arns(stack, options))
        }
        if options.pull_through_prefixes:
            # Pull-through caches are in the stack's own registry.
            imported = [_repository_arn(stack, name) for name in options.imported_repositories()]
            policies["ImportFromUpstream"] = _allow(["ecr:BatchImportUpstreamImage"], imported)
        role = iam.Role(
            self,
            "Role",
            description="Execution role of the ECR Layer Resolver",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            inline_policies=policies,
        )
        self.log_group.grant_write(role)
        if options.pull_time_exclusion:
            # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_RegisterPullTimeUpdateExclusion.html
            ecr.CfnPullTimeUpdateExclusion(self, "PullTimeExclusion", principal_arn=role.role_arn)
        return role


@dataclass(frozen=True, slots=True)
class LogRetention:
    """How long log entries are kept, and whether their log groups outlive the stack.

    Attributes:
        days: How long entries are kept.
        removal_policy: What becomes of the log group when the stack no longer has it.
    """

    days: logs.RetentionDays
    removal_policy: RemovalPolicy

    def log_group(self, scope: Construct) -> logs.LogGroup:
        """Return a new log group."""
        return logs.LogGroup(scope, "LogGroup", retention=self.days, removal_policy=self.removal_policy)


def _acknowledge(construct: Construct, finding: str, reason: str) -> None:
    Validations.of(construct).acknowledge(Acknowledgment(id=finding, reason=reason))


def own_distributions() -> str:
    """Return the ARN that stands for every CloudFront distribution of the stack's account."""
    return f"arn:{Aws.PARTITION}:cloudfront::{Aws.ACCOUNT_ID}:distribution/*"


def layers_host() -> str:
    """Return the host of ECR's bucket for layers, in the stack's region.

    Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-setting-up-s3-gateway
    """
    return f"prod-{Aws.REGION}-starport-layer-bucket.s3.{Aws.REGION}.{Aws.URL_SUFFIX}"


def _allow(actions: list[str], resources: list[str]) -> iam.PolicyDocument:
    return iam.PolicyDocument(statements=[iam.PolicyStatement(actions=actions, resources=resources)])


def _ecr_actions(options: Options) -> list[str]:
    """Return the actions of ECR; every one beyond that which the product is about is opted into, and stands here."""
    actions = {
        "ecr:GetDownloadUrlForLayer": True,
        "ecr:BatchGetImage": options.image_pull,
        "ecr:ListImages": options.list_tags,
    }
    return [action for action, is_allowed in actions.items() if is_allowed]


def _environment(options: Options, name: str) -> dict[str, str]:
    """Return the environment variables that the function's settings.py, Powertools and botocore read."""
    environment: dict[str, str] = {
        contract.LOG_LEVEL: options.log_level,
        contract.STACK_NAME: name,
        contract.MAXIMUM_RESULT_KILOBYTES: str(options.maximum_result_kilobytes),
    }
    if options.registries:
        environment[contract.ALLOWED_REGISTRIES] = ",".join(options.registries)
    if options.download_url_hosts:
        environment[contract.DOWNLOAD_URL_HOSTS] = ",".join(options.download_url_hosts)
    if options.edge:
        environment[contract.EDGE_DISTRIBUTION_ARN] = own_distributions()
    if options.edge_layers:
        environment[contract.EDGE_LAYERS_ORIGIN] = f"https://{layers_host()}"
    flags = {
        contract.IMAGE_PULL: options.image_pull,
        contract.LIST_TAGS: options.list_tags,
        contract.USE_DUALSTACK_ENDPOINT: options.ipv6,
    }
    return environment | {name: "true" for name, is_set in flags.items() if is_set}


def _repository_arns(stack: Stack, options: Options) -> list[str]:
    return [
        _repository_arn(stack, name, account)
        for account in (stack.account, *options.registries)
        for name in options.repositories
    ]


def _repository_arn(stack: Stack, name: str, account: str | None = None) -> str:
    return stack.format_arn(service="ecr", resource="repository", resource_name=name, account=account)


def _cors(origins: tuple[str, ...]) -> lambda_.FunctionUrlCorsOptions | None:
    if not origins:
        return None
    return lambda_.FunctionUrlCorsOptions(
        allowed_origins=list(origins),
        allowed_methods=[lambda_.HttpMethod.GET, lambda_.HttpMethod.HEAD, lambda_.HttpMethod.POST],
        allowed_headers=list(_CORS_REQUEST_HEADERS),
        exposed_headers=list(_CORS_ANSWER_HEADERS),
        max_age=Duration.hours(1),
    )
