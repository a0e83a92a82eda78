"""The Lambda function with everything that it needs to be called: role, log group, version, alias and function URL."""

from pathlib import Path
from typing import cast

from aws_cdk import Annotations, Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import contract
from infra.asset import Target, build_package
from infra.findings import accept, accept_in_template
from infra.settings import DeploymentSettings

PACKAGES = Path(__file__).parent.parent / "build" / "packages"

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

    Attributes:
        log_group: Where it logs.
        role: The function's execution role. Nothing is added to it behind an operator's back: a construct that needs
            more attaches a policy that says so.
        function: The function; its alias is what callers and triggers invoke.
        alias: The alias `live` of the newest version.
        url: The function URL of the alias.
    """

    def __init__(self, scope: Construct, construct_id: str, settings: DeploymentSettings, target: Target) -> None:
        super().__init__(scope, construct_id)
        self.log_group = create_log_group(self, settings)
        self.role = self._role(settings)
        self.function = self._function(settings, target)
        self.alias = lambda_.Alias(self, "Alias", alias_name=contract.ALIAS, version=self.function.current_version)
        self.url = self._function_url(settings)

    def _function(self, settings: DeploymentSettings, target: Target) -> lambda_.Function:
        package = build_package(target, PACKAGES)
        if not package.is_compiled:
            Annotations.of(self).add_warning_v2(
                "EcrLayerResolver:NoBytecode",
                f"The package has no bytecode, because uv gave no Python {target.python_version} to write it, so each "
                "environment that starts without SnapStart takes about twice as long to load it. `make python` "
                f"installs one, by `.venv/bin/uv python install {target.python_version}`. uv said: {package.problem}",
            )
        function = lambda_.Function(
            self,
            "Function",
            description="Resolves layers of Amazon ECR repositories into pre-signed download URLs",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler=contract.HANDLER,
            code=lambda_.Code.from_asset(str(package.path), asset_hash=package.digest),
            role=self.role.without_policy_updates(),
            # An alias can go back to a version that is kept, but SnapStart bills the snapshot of each.
            current_version_options=lambda_.VersionOptions(
                removal_policy=RemovalPolicy.RETAIN if settings.keep_versions else RemovalPolicy.DESTROY
            ),
            memory_size=settings.memory_size,
            timeout=Duration.seconds(settings.timeout_seconds),
            reserved_concurrent_executions=settings.reserved_concurrency,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if settings.snap_start else None,
            tracing=lambda_.Tracing.ACTIVE if settings.tracing else None,
            environment=_environment(settings),
            log_group=self.log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            application_log_level_v2=_APPLICATION_LOG_LEVELS[settings.log_level],
            system_log_level_v2=_SYSTEM_LOG_LEVELS[settings.log_level],
        )
        accept(
            function,
            {
                "Annotation::@aws-cdk/aws-lambda:snapStartRequirePublish": "The alias publishes a version.",
                "AwsSolutions-L1": "Lambda supports Python 3.13 until 2029; the package is built and tested for it.",
            },
        )
        accept_in_template(
            function,
            checkov={
                "CKV_AWS_115": "How much concurrency to reserve is the operator's setting reservedConcurrency.",
                "CKV_AWS_116": "Failed events go to the failure queue by the alias's asynchronous configuration.",
                "CKV_AWS_117": "It needs nothing in a VPC; in one it would need endpoints of ECR to work at all.",
                "CKV_AWS_173": "The environment has no secret; Lambda encrypts it with a key of its own.",
            },
            # CDK writes the dependency on the role twice.
            cfn_lint=("W3005",),
        )
        return function

    def _role(self, settings: DeploymentSettings) -> iam.Role:
        """Return the execution role: all that the function itself may do stands here."""
        stack = Stack.of(self)
        policies = {
            # One statement, because a role's policies may have 10,240 characters, and the ARNs are most of them.
            "ReadRepositories": _allow(_ecr_actions(settings), _repository_arns(stack, settings)),
            "WriteLogs": _allow(["logs:CreateLogStream", "logs:PutLogEvents"], [self.log_group.log_group_arn]),
        }
        if settings.pull_through_prefixes:
            # Pull-through caches are in the stack's own registry.
            imported = [_repository_arn(stack, name) for name in settings.imported_repositories()]
            policies["ImportFromUpstream"] = _allow(["ecr:BatchImportUpstreamImage"], imported)
        if settings.tracing:
            # CDK would add these to a role that takes updates. Neither action has a resource:
            # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
            policies["WriteTraces"] = _allow(["xray:PutTelemetryRecords", "xray:PutTraceSegments"], ["*"])
        role = iam.Role(
            self,
            "Role",
            description="Execution role of the ECR Layer Resolver",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            inline_policies=policies,
        )
        accept(role, _accepted_wildcards(settings))
        if settings.tracing:
            accept(role, {"AwsSolutions-IAM5[Resource::*]": "X-Ray's actions for writing traces have no resource."})
        return role

    def _function_url(self, settings: DeploymentSettings) -> lambda_.FunctionUrl:
        url = self.alias.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType[settings.auth_type],
            cors=_cors(settings.allowed_origins),
        )
        if settings.auth_type == "NONE":
            accept_in_template(url, checkov={"CKV_AWS_258": "The operator made these repositories public: authType."})
        for principal in settings.allowed_principals:
            url.grant_invoke_url(_principal(principal))
        return url


def create_log_group(scope: Construct, settings: DeploymentSettings) -> logs.LogGroup:
    """Return a log group whose entries, and which itself, are kept for as long as the settings say."""
    removal_policy = RemovalPolicy.RETAIN if settings.keep_logs else RemovalPolicy.DESTROY
    log_group = logs.LogGroup(scope, "LogGroup", removal_policy=removal_policy)
    # CDK has a name for each number of days; CloudFormation takes the number.
    cast("logs.CfnLogGroup", log_group.node.default_child).retention_in_days = settings.log_retention_days
    accept_in_template(
        log_group, checkov={"CKV_AWS_158": "CloudWatch Logs encrypts with a key of its own, and logs hold no secret."}
    )
    return log_group


def _allow(actions: list[str], resources: list[str]) -> iam.PolicyDocument:
    return iam.PolicyDocument(statements=[iam.PolicyStatement(actions=actions, resources=resources)])


def _ecr_actions(settings: DeploymentSettings) -> list[str]:
    """Return the actions of ECR; every one beyond that which the product is about is opted into, and stands here."""
    actions = {
        "ecr:GetDownloadUrlForLayer": True,
        "ecr:BatchGetImage": settings.image_pull,
        "ecr:ListImages": settings.list_tags,
    }
    return [action for action, is_allowed in actions.items() if is_allowed]


def _environment(settings: DeploymentSettings) -> dict[str, str]:
    """Return the environment variables that the function's settings.py, Powertools and botocore read."""
    environment: dict[str, str] = {
        contract.LOG_LEVEL: settings.log_level,
        contract.STACK_NAME: settings.stack_name,
        contract.MAXIMUM_RESULT_KILOBYTES: str(settings.maximum_result_kilobytes),
    }
    if settings.registries:
        environment[contract.ALLOWED_REGISTRIES] = ",".join(settings.registries)
    if settings.download_url_hosts:
        environment[contract.DOWNLOAD_URL_HOSTS] = ",".join(settings.download_url_hosts)
    if settings.edge:
        environment[contract.EDGE_DISTRIBUTION_ARN] = f"arn:{Aws.PARTITION}:cloudfront::{Aws.ACCOUNT_ID}:distribution/*"
    flags = {
        contract.IMAGE_PULL: settings.image_pull,
        contract.LIST_TAGS: settings.list_tags,
        contract.USE_DUALSTACK_ENDPOINT: settings.ipv6,
    }
    return environment | {name: "true" for name, is_set in flags.items() if is_set}


def _repository_arns(stack: Stack, settings: DeploymentSettings) -> list[str]:
    return [
        _repository_arn(stack, name, account)
        for account in (stack.account, *settings.registries)
        for name in settings.repositories
    ]


def _repository_arn(stack: Stack, name: str, account: str | None = None) -> str:
    return stack.format_arn(service="ecr", resource="repository", resource_name=name, account=account)


def _accepted_wildcards(settings: DeploymentSettings) -> dict[str, str]:
    """Return cdk-nag's findings about repository ARNs that end with the operator's own `*`."""
    reason = "The operator named these repositories by their prefix, in the settings."
    arns = [
        f"{account}:repository/{name}"
        for account in ("<AWS::AccountId>", *settings.registries)
        for name in settings.repositories
        if name.endswith("*")
    ]
    arns += [f"<AWS::AccountId>:repository/{name}" for name in settings.imported_repositories() if name.endswith("*")]
    return {
        f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:ecr:<AWS::Region>:{arn}]": reason
        for arn in dict.fromkeys(arns)
    }


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


def _principal(name: str) -> iam.IPrincipal:
    if name.startswith("arn:"):
        return iam.ArnPrincipal(name)
    if name.startswith("o-"):
        return iam.OrganizationPrincipal(name)
    return iam.AccountPrincipal(name)
