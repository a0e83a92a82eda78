"""The questions of docs/audit.md, as queries that CloudWatch Logs Insights has at hand."""

from aws_cdk import aws_logs as logs
from constructs import Construct

QUERIES = {
    "Who asked": """\
fields @timestamp, callerKind, caller, callerVerified, sourceIp, route, status, repositoryName, image, layersResolved
| filter trigger = "http"
| sort @timestamp desc
| limit 1000""",
    "Requests and layers by caller": """\
filter trigger = "http"
| stats count(*) as requests, sum(layersResolved) as layers by callerKind, caller, sourceIp, repositoryName
| sort layers desc""",
    "Who got this repository": """\
fields @timestamp, callerKind, caller, callerVerified, sourceIp, route, image, imageDigest,
  layersResolved, correlation_id
| filter repositoryName = "REPLACE_ME" and status < 400
| filter layersResolved > 0
  or (status = 200 and route in ["GET /v2/<name>/manifests/<reference>", "GET /images/download-urls"])
| sort @timestamp desc
| limit 1000""",
    "What did this token get": """\
filter callerKind = "token" and status < 400
| filter caller = "REPLACE_ME" or callerRule = "REPLACE_ME" or callerTokenId = "REPLACE_ME"
| stats count(*) as requests, sum(layersResolved) as layers, max(@timestamp) as last by repositoryName, image, sourceIp
| sort last desc""",
    "Who got a layer": """\
fields @timestamp, callerKind, caller, callerVerified, sourceIp, trigger, correlation_id, repositoryName
| filter @message like "sha256:REPLACE_ME" and layersResolved > 0
| sort @timestamp desc""",
    "Layers that nobody asked for in 30 days": """\
fields jsonParse(@message) as line
| filter layersResolved > 0
| unnest line.layerDigests into layerDigest
| stats max(toMillis(@timestamp)) as lastAsked, count(*) as requests by repositoryName, layerDigest
| filter lastAsked < (now() - 30 * 86400) * 1000
| sort lastAsked asc
| limit 10000""",
    "Who was refused": """\
fields @timestamp, callerKind, caller, callerVerified, sourceIp, route, repositoryName, error.code, failures.0.code
| filter status in [401, 403] or failures.0.code = "AccessDeniedException"
| sort @timestamp desc
| limit 1000""",
    "Events and what came of them": """\
fields @timestamp, caller, correlation_id, status, repositoryName, image, layersResolved, layersFailed, error.code
| filter trigger = "eventbridge"
| sort @timestamp desc
| limit 1000""",
    "Failures by code": """\
filter ispresent(error.code) or layersFailed > 0
| stats count(*) as invocations by coalesce(error.code, failures.0.code) as code, route
| sort invocations desc""",
    "Slowest invocations": """\
fields @timestamp, durationMs, route, status, layersRequested, repositoryName, function_request_id
| filter ispresent(route)
| sort durationMs desc
| limit 50""",
}
"""The queries by their titles. They read the fields that the function's observability.py gives its log lines."""


class Audit(Construct):
    """Saves the queries; the CloudWatch console lists them under the resolver's name.

    Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-logs-querydefinition.html
    """

    def __init__(self, scope: Construct, construct_id: str, *, name: str, log_group: logs.ILogGroup) -> None:
        super().__init__(scope, construct_id)
        for title, query in QUERIES.items():
            logs.CfnQueryDefinition(
                self,
                title.title().replace(" ", ""),
                name=f"{name}/{title}",
                query_string=query,
                log_group_names=[log_group.log_group_name],
            )
