"""CloudFront in front of the function URL: a domain, and pull tokens that are checked before anything is invoked.

docs/edge.md says what it lets through and why. The tokens are in a KeyValueStore that this stack makes and does not
write to: a deployment changes none of them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aws_cdk import ArnFormat, Aws, Duration, Names, RemovalPolicy, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct
from pydantic.alias_generators import to_snake

from . import contract
from .edge_functions import edge_function
from .options import Options
from .resolver_function import LogRetention, ResolverFunction, layers_host
from .token_exchange import TIMEOUT_SECONDS, TokenExchange
from .trust_rules import TrustRule

_LONGEST_NAME = 40

# What the function URL gets of a client's headers. Authorization can't be among them: CloudFront signs in its place.
_CALLER_HEADERS = (contract.TOKEN_HEADER, contract.RULE_HEADER, contract.TOKEN_ID_HEADER)
_FORWARDED_HEADERS = ("Accept", "If-None-Match", "Origin", *_CALLER_HEADERS)
# On cached paths, only headers that don't change the answer. Another client would get a 304 or a 404 that answers
# If-None-Match or Accept.
_FORWARDED_TO_CACHED_PATHS = _CALLER_HEADERS

# The cache key beside the path: the edge's function sets the first header, a browser the second. Both are forwarded.
_METHOD_HEADER = "x-ecr-layers-method"
_LAYERS = "/layers/*"
_TOKEN = "/token"  # noqa: S105 (a path)
# As long as ECR's URLs live at most.
_LAYERS_LIFETIME = Duration.hours(1)
_KEPT_PATHS = ("/v2/*/blobs/*:*", "/v2/*/manifests/*:*")

# CloudFront keeps an error for ten seconds otherwise, whatever its Cache-Control says. These are those that it keeps:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/HTTPStatusCodes.html
_KEPT_ERRORS = (400, 403, 404, 405, 414, 500, 501, 502, 503, 504)

# Neither the query nor Referer, which can be a URL with one, nor cookies:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference.html
_LOGGED_FIELDS = (
    "date",
    "time",
    "x-edge-location",
    "sc-bytes",
    "c-ip",
    "cs-method",
    "x-host-header",
    "cs-uri-stem",
    "sc-status",
    "cs(User-Agent)",
    "x-edge-result-type",
    "x-edge-detailed-result-type",
    "x-edge-request-id",
    "cs-protocol-version",
    "ssl-protocol",
    "time-taken",
)

TLS_POLICIES = {
    "TLSv1.2_2025": cloudfront.SecurityPolicyProtocol.TLS_V1_2_2025,
    "TLSv1.3_2025": cloudfront.SecurityPolicyProtocol.TLS_V1_3_2025,
}
"""The security policies of a domain, by their names in CloudFormation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """CloudFront in front of the function URL, with pull tokens. docs/edge.md describes it.

    Attributes:
        domain_name: A domain of your own, such as `registry.example.com`; it needs `certificate`. Without it, clients
            use CloudFront's name for the distribution.
        certificate: The domain's certificate in ACM, in us-east-1.
        hosted_zone: The hosted zone in which to create the domain's records.
        public_repositories: Repositories that anyone may pull without a token: names, prefixes such as `public/*`, or
            either after another registry's account id and a slash.
        tls_policy: CloudFront's security policy for the domain: `TLS_V1_2_2025` or `TLS_V1_3_2025`.
        cache_duration: How long CloudFront caches redirects and manifests: at most 25 minutes; 0 turns caching off.
        additional_metrics: Publish CloudFront's additional metrics, such as the cache hit rate, at their extra cost.
        web_acl_arn: The ARN of a web ACL of AWS WAF, in us-east-1.
        access_logs: Write access logs to CloudWatch Logs; only in us-east-1.
        layers: Serve layers from the edge's own host, through CloudFront, instead of redirecting clients to S3.
        token_store: A KeyValueStore that has pull tokens already; a new one otherwise.
        trust_rules: Whose OIDC tokens log in, by the names of the rules. With any, clients of the registry get short
            tokens at `/token`, for pull tokens too.
    """

    domain_name: str | None = None
    certificate: acm.ICertificate | None = None
    hosted_zone: route53.IHostedZone | None = None
    public_repositories: Sequence[str | ecr.IRepository] = ()
    tls_policy: cloudfront.SecurityPolicyProtocol = cloudfront.SecurityPolicyProtocol.TLS_V1_2_2025
    cache_duration: Duration = field(default_factory=lambda: Duration.seconds(0))
    additional_metrics: bool = True
    web_acl_arn: str | None = None
    access_logs: bool = False
    layers: bool = False
    token_store: cloudfront.IKeyValueStore | None = None
    trust_rules: Mapping[str, TrustRule] = field(default_factory=dict)


class EdgeDistribution(Construct):
    """The distribution, its functions and the store of pull tokens.

    Args:
        scope: The resolver.
        construct_id: The id.
        edge: What the edge has.
        options: The resolver's options.
        name: The resolver's name.
        resolver: The function behind it.
        retention: How long its access logs are kept.

    Attributes:
        distribution: The distribution.
        function: The function that checks each request.
        token_store: The store of pull tokens.
        exchange: The function that exchanges OIDC tokens; None without trust rules.
        domain: The host for logins and pulls.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        edge: Edge,
        options: Options,
        name: str,
        resolver: ResolverFunction,
        retention: LogRetention,
    ) -> None:
        super().__init__(scope, construct_id)
        self._name = _account_wide_name(name)
        self._configuration = configuration(options, options.domain_name or name)
        self.token_store = edge.token_store or self._token_store()
        self.function = self._function(
            "ViewerRequest", "", "Checks pull tokens of an ECR Layer Resolver", self._configuration
        )
        self._response_function = self._function(
            "ViewerResponse", "-response", "Puts back headers that a function URL may rename"
        )
        self.exchange: TokenExchange | None = None
        if options.trust_rules:
            self.exchange = TokenExchange(self, "TokenExchange", options=options, retention=retention)
        self.distribution = self._distribution(edge, options, resolver)
        self.domain = edge.domain_name or self.distribution.distribution_domain_name
        if edge.domain_name and edge.hosted_zone:
            self._add_records(edge.domain_name, edge.hosted_zone)
        if edge.access_logs:
            self._add_logs(retention)

    def _token_store(self) -> cloudfront.KeyValueStore:
        store = cloudfront.KeyValueStore(
            self, "TokenStore", key_value_store_name=self._name, comment="Pull tokens of an ECR Layer Resolver"
        )
        # Only the store has the tokens' hashes, so a deployment without the edge must not delete it.
        store.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
        return store

    def _function(
        self, construct_id: str, suffix: str, comment: str, function_configuration: Mapping[str, Any] | None = None
    ) -> cloudfront.Function:
        """Return a function; one that reads the deployment's configuration reads the token store, too."""
        return cloudfront.Function(
            self,
            construct_id,
            function_name=f"{self._name}{suffix}",
            code=cloudfront.FunctionCode.from_inline(edge_function(to_snake(construct_id), function_configuration)),
            runtime=cloudfront.FunctionRuntime.JS_2_0,
            key_value_store=self.token_store if function_configuration else None,
            comment=comment,
        )

    def _distribution(self, edge: Edge, options: Options, resolver: ResolverFunction) -> cloudfront.Distribution:
        own_domain: dict[str, Any] = {}
        if edge.domain_name:
            # CloudFront's own name has a policy that nobody can change.
            own_domain = {
                "domain_names": [edge.domain_name],
                "certificate": edge.certificate,
                "minimum_protocol_version": edge.tls_policy,
            }
        access_control = cloudfront.FunctionUrlOriginAccessControl(
            self, "AccessControl", origin_access_control_name=self._name
        )
        origin = origins.FunctionUrlOrigin.with_origin_access_control(
            resolver.url,
            origin_access_control=access_control,
            read_timeout=Duration.seconds(options.timeout_seconds + 1),
        )

        functions = {
            cloudfront.FunctionEventType.VIEWER_REQUEST: self.function,
            cloudfront.FunctionEventType.VIEWER_RESPONSE: self._response_function,
        }
        default = _behaviour(
            origin, cloudfront.CachePolicy.CACHING_DISABLED, functions, self._origin_request_policy(edge)
        )
        kept = {_LAYERS: self._layers()} if edge.layers else {}
        if self.exchange:
            kept[_TOKEN] = self._token(self.exchange, access_control)
        if options.edge_cache_seconds:
            cached = _behaviour(
                origin, self._cache_policy(edge, options), functions, self._origin_request_policy_of_cached_paths()
            )
            kept |= dict.fromkeys(_KEPT_PATHS, cached)
        distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment="Edge of an ECR Layer Resolver",
            default_behavior=default,
            additional_behaviors=kept,
            **own_domain,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            enable_ipv6=True,
            error_responses=[
                cloudfront.ErrorResponse(http_status=status, ttl=Duration.seconds(0)) for status in _KEPT_ERRORS
            ],
            # Cache hit rate, and each of 401, 403, 404, 502, 503, 504 by itself.
            publish_additional_metrics=edge.additional_metrics,
            web_acl_id=edge.web_acl_arn,
        )
        _permit_on_alias(distribution, resolver)
        return distribution

    def _token(
        self, exchange: TokenExchange, access_control: cloudfront.FunctionUrlOriginAccessControl
    ) -> cloudfront.BehaviorOptions:
        """Return the behaviour that gives short tokens. Its function passes OIDC tokens on, and answers the rest."""
        function = self._function(
            "TokenRequest", "-token", "Gives short tokens of an ECR Layer Resolver", self._configuration
        )
        forwarded = cloudfront.OriginRequestPolicy(
            self,
            "TokenOriginRequestPolicy",
            origin_request_policy_name=f"{self._name}-token",
            header_behavior=cloudfront.OriginRequestHeaderBehavior.allow_list(
                contract.AUTHORIZATION_HEADER, contract.HOST_HEADER, "CloudFront-Viewer-Address"
            ),
            query_string_behavior=cloudfront.OriginRequestQueryStringBehavior.all(),
            cookie_behavior=cloudfront.OriginRequestCookieBehavior.none(),
        )
        origin = origins.FunctionUrlOrigin.with_origin_access_control(
            exchange.url, origin_access_control=access_control, read_timeout=Duration.seconds(TIMEOUT_SECONDS + 1)
        )
        functions = {cloudfront.FunctionEventType.VIEWER_REQUEST: function}
        return _behaviour(origin, cloudfront.CachePolicy.CACHING_DISABLED, functions, forwarded)

    def _layers(self) -> cloudfront.BehaviorOptions:
        """Return the behaviour that serves layers from S3, which checks their pre-signed URLs."""
        function = self._function("LayersRequest", "-layers", "Passes requests for layers on to S3")
        # The key has the signature, so copies are never served longer than the function above accepts the URL.
        cache_policy = cloudfront.CachePolicy(
            self,
            "LayersCachePolicy",
            cache_policy_name=f"{self._name}-layers",
            min_ttl=_LAYERS_LIFETIME,
            default_ttl=_LAYERS_LIFETIME,
            max_ttl=_LAYERS_LIFETIME,
            header_behavior=cloudfront.CacheHeaderBehavior.none(),
            query_string_behavior=cloudfront.CacheQueryStringBehavior.all(),
            cookie_behavior=cloudfront.CacheCookieBehavior.none(),
        )
        return _behaviour(
            origins.HttpOrigin(layers_host(), protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY),
            cache_policy,
            {cloudfront.FunctionEventType.VIEWER_REQUEST: function},
            methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD,
        )

    def _origin_request_policy(self, edge: Edge) -> cloudfront.OriginRequestPolicy:
        """Return what goes on to the function URL: the query, and the headers that the function reads."""
        headers = [*_FORWARDED_HEADERS, contract.HOST_HEADER] if edge.layers else _FORWARDED_HEADERS
        return cloudfront.OriginRequestPolicy(
            self,
            "OriginRequestPolicy",
            origin_request_policy_name=self._name,
            header_behavior=cloudfront.OriginRequestHeaderBehavior.allow_list(*headers, "CloudFront-Viewer-Address"),
            query_string_behavior=cloudfront.OriginRequestQueryStringBehavior.all(),
            cookie_behavior=cloudfront.OriginRequestCookieBehavior.none(),
        )

    def _origin_request_policy_of_cached_paths(self) -> cloudfront.OriginRequestPolicy:
        """Return what goes to the function URL beside the cache key, where answers are cached.

        CloudFront sends If-None-Match itself to revalidate an expired answer:
        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/RequestAndResponseBehaviorCustomOrigin.html#RequestCustomConditionalGETs
        """
        return cloudfront.OriginRequestPolicy(
            self,
            "CachedOriginRequestPolicy",
            origin_request_policy_name=f"{self._name}-cached",
            header_behavior=cloudfront.OriginRequestHeaderBehavior.allow_list(
                *_FORWARDED_TO_CACHED_PATHS, "CloudFront-Viewer-Address"
            ),
            query_string_behavior=cloudfront.OriginRequestQueryStringBehavior.none(),
            cookie_behavior=cloudfront.OriginRequestCookieBehavior.none(),
        )

    def _cache_policy(self, edge: Edge, options: Options) -> cloudfront.CachePolicy:
        """Return how long answers are kept: for as long as is set, though they say `no-store` to everyone else.

        Source: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/Expiration.html
        """
        seconds = Duration.seconds(options.edge_cache_seconds)
        headers = [_METHOD_HEADER]
        headers += ["Origin"] if options.allowed_origins else []
        headers += [contract.HOST_HEADER] if edge.layers else []
        return cloudfront.CachePolicy(
            self,
            "CachePolicy",
            cache_policy_name=self._name,
            min_ttl=seconds,
            default_ttl=seconds,
            max_ttl=seconds,
            header_behavior=cloudfront.CacheHeaderBehavior.allow_list(*headers),
            query_string_behavior=cloudfront.CacheQueryStringBehavior.none(),
            cookie_behavior=cloudfront.CacheCookieBehavior.none(),
        )

    def _add_records(self, name: str, zone: route53.IHostedZone) -> None:
        target = route53.RecordTarget.from_alias(targets.CloudFrontTarget(self.distribution))
        route53.ARecord(self, "Ipv4", zone=zone, record_name=f"{name}.", target=target)
        route53.AaaaRecord(self, "Ipv6", zone=zone, record_name=f"{name}.", target=target)

    def _add_logs(self, retention: LogRetention) -> None:
        """Have CloudFront write its access logs to a log group of this stack, without query strings."""
        stack, log_group = Stack.of(self), retention.log_group(self)
        # The ARN that CloudFormation gives of a log group is that of its streams: it ends with ":*".
        log_group_arn = stack.format_arn(
            service="logs",
            resource="log-group",
            resource_name=log_group.log_group_name,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
        policy = logs.ResourcePolicy(
            self,
            "LogDelivery",
            policy_statements=[
                iam.PolicyStatement(
                    principals=[iam.ServicePrincipal("delivery.logs.amazonaws.com")],
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                    resources=[f"{log_group_arn}:log-stream:*"],
                    conditions={
                        "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                        "ArnLike": {"aws:SourceArn": f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:*"},
                    },
                )
            ],
        )
        name = Names.unique_resource_name(self, max_length=60, separator="-")
        source = logs.CfnDeliverySource(
            self,
            "DeliverySource",
            name=name,
            log_type="ACCESS_LOGS",
            resource_arn=self.distribution.distribution_arn,
        )
        destination = logs.CfnDeliveryDestination(
            self,
            "DeliveryDestination",
            name=name,
            output_format="json",
            destination_resource_arn=log_group_arn,
        )
        delivery = logs.CfnDelivery(
            self,
            "Delivery",
            delivery_source_name=source.name,
            delivery_destination_arn=destination.attr_arn,
            record_fields=list(_LOGGED_FIELDS),
        )
        delivery.node.add_dependency(source, policy)


def _behaviour(
    origin: cloudfront.IOrigin,
    cache_policy: cloudfront.ICachePolicy,
    functions: Mapping[cloudfront.FunctionEventType, cloudfront.Function],
    forwarded: cloudfront.IOriginRequestPolicy | None = None,
    methods: cloudfront.AllowedMethods | None = None,
) -> cloudfront.BehaviorOptions:
    return cloudfront.BehaviorOptions(
        origin=origin,
        cache_policy=cache_policy,
        origin_request_policy=forwarded,
        response_headers_policy=cloudfront.ResponseHeadersPolicy.SECURITY_HEADERS,
        # All methods get to the functions at the edge, which refuse with 405 what CloudFront would with 403. containerd
        # tries POST for a token first, and GET after a 405.
        allowed_methods=methods or cloudfront.AllowedMethods.ALLOW_ALL,
        # A client that tries plain HTTP is refused, not sent on: it would have sent its password.
        viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
        compress=False,
        function_associations=[
            cloudfront.FunctionAssociation(event_type=event, function=function) for event, function in functions.items()
        ],
    )


def configuration(options: Options, realm: str) -> dict[str, Any]:
    """Return what the functions at the edge read of a deployment.

    Args:
        options: The resolver's options.
        realm: What a challenge calls the registry.
    """
    return {
        "realm": realm,
        "publicRepositories": options.public_repositories,
        "allowedOrigins": options.allowed_origins,
        "catalog": options.catalog,
        "tokenScheme": "https" if options.trust_rules else "",
    }


def _account_wide_name(stack_name: str) -> str:
    """Return a name for what CloudFront keeps by name: once for an account, though stacks are in many regions.

    At most 64 characters, which is what functions and stores can have: 14 for a region, 10 for what follows.
    """
    if len(stack_name) > _LONGEST_NAME:
        stack_name = f"{stack_name[: _LONGEST_NAME - 9]}-{hashlib.sha256(stack_name.encode()).hexdigest()[:8]}"
    return f"{stack_name}-{Aws.REGION}"


def _permit_on_alias(distribution: cloudfront.Distribution, resolver: ResolverFunction) -> None:
    """Set CloudFront's permissions on the resolver's alias: a function's own policy doesn't cover its aliases."""
    resolve = Stack.of(distribution).resolve
    by_url = resolve(resolver.url.function_arn)
    for permission in distribution.node.find_all():
        if isinstance(permission, lambda_.CfnPermission) and resolve(permission.function_name) == by_url:
            permission.function_name = resolver.alias.function_arn
