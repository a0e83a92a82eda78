"""The function that exchanges OIDC tokens for short tokens, and the secret with its signing keys.

It has no permission in ECR, and only CloudFront may call its function URL.
"""

from aws_cdk import Duration, RemovalPolicy, SecretValue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from . import contract
from .asset import function_code
from .options import PUBLIC_CONCURRENCY, Options
from .resolver_function import LogRetention, own_distributions
from .trust_rules import written

TIMEOUT_SECONDS = 15
_NO_KEYS = '{"keys":[]}'


class TokenExchange(Construct):
    """The exchange function with its function URL and its secret.

    Args:
        scope: The edge.
        construct_id: The id.
        options: The resolver's options.
        retention: How long its log entries are kept.

    Attributes:
        function: The function.
        url: Its function URL.
        signing_keys: The secret. `ecr-layers token rotate-keys` writes keys to it.
    """

    def __init__(self, scope: Construct, construct_id: str, *, options: Options, retention: LogRetention) -> None:
        super().__init__(scope, construct_id)
        # CloudFormation writes this text once; later deployments keep the keys.
        self.signing_keys = secretsmanager.Secret(
            self,
            "SigningKeys",
            description="Keys that sign short tokens of an ECR Layer Resolver",
            secret_string_value=SecretValue.unsafe_plain_text(_NO_KEYS),
            removal_policy=RemovalPolicy.DESTROY,
        )
        log_group = retention.log_group(self)
        role = iam.Role(
            self,
            "Role",
            description="Execution role of the function that exchanges tokens",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        )
        log_group.grant_write(role)
        self.signing_keys.grant_read(role)
        self.function = lambda_.Function(
            self,
            "Function",
            description="Exchanges OIDC tokens for short tokens of an ECR Layer Resolver",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler=contract.EXCHANGE_HANDLER,
            code=function_code(self, "token_exchange"),
            role=role,
            memory_size=512,
            timeout=Duration.seconds(TIMEOUT_SECONDS),
            # Through CloudFront, anyone can invoke it with anything that resembles an OIDC token.
            reserved_concurrent_executions=PUBLIC_CONCURRENCY,
            environment={
                contract.LOG_LEVEL: options.log_level,
                contract.TRUST_RULES: written(options.trust_rules),
                contract.SIGNING_KEY_SECRET: self.signing_keys.secret_arn,
                contract.EDGE_DISTRIBUTION_ARN: own_distributions(),
            },
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
        )
        self.url = self.function.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)
