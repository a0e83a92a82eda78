"""What a region has and has not, where that decides about a default."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from aws_cdk import Stack, Token
from aws_cdk.region_info import RegionInfo
from constructs import Construct

COMMERCIAL = "aws"
US_EAST_1 = "us-east-1"

# https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-supported-regions
_WITHOUT_SNAP_START = frozenset({"ap-east-2", "ap-southeast-6"})

# https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html
_WITHOUT_FUNCTION_URLS = frozenset(
    {
        "ap-east-2", "ap-south-2", "ap-southeast-4", "ap-southeast-5", "ap-southeast-6", "ap-southeast-7",
        "ca-west-1", "eu-central-2", "eu-south-2", "il-central-1", "me-central-1",
    }
)  # fmt: skip
# https://docs.amazonaws.cn/en_us/aws/latest/userguide/lambda.html,
# https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/govcloud-lambda.html
_PARTITIONS_WITHOUT_FUNCTION_URLS = frozenset({"aws-cn", "aws-us-gov"})

# Where EventBridge still takes 256 KB, though the partition's other regions have 1 MB:
# https://aws.amazon.com/about-aws/whats-new/2026/01/amazon-eventbridge-increases-event-payload-size-256-kb-1-mb/
_WITH_SMALL_EVENTS = frozenset({"ap-east-2", "ap-southeast-5", "ap-southeast-6", "ap-southeast-7", "mx-central-1"})

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html has the partitions; the hosts are those that
# https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html and the partitions' own manuals name,
# such as https://docs.aws.eu/general/latest/gr/endpoints.html.
_CONSOLES = {
    COMMERCIAL: "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
    "aws-eusc": "console.amazonaws-eusc.eu",
}
# The domains of AWS's endpoints, those of dual-stack endpoints among them, as botocore's partitions.json has them.
_AWS_DOMAINS = (
    "amazonaws.com", "api.aws",
    "amazonaws.com.cn", "api.amazonwebservices.com.cn",
    "amazonaws.eu", "api.amazonwebservices.eu",
    "c2s.ic.gov", "api.aws.ic.gov",
    "sc2s.sgov.gov", "api.aws.scloud",
    "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk",
    "csp.hci.ic.gov", "api.aws.hci.ic.gov",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Region:
    """A region, as far as it is known when the template is written.

    Attributes:
        name: Its name, None if nobody has said which it is; it then counts as one that has everything.
        partition: The partition that it is in.
        is_emulated: Whether something else than AWS answers for it.
    """

    name: str | None = None
    partition: str = COMMERCIAL
    is_emulated: bool = False

    @classmethod
    def of(cls, scope: Construct) -> Self:
        """Return the region of a construct's stack, one without a name if the stack has none yet."""
        region = Stack.of(scope).region
        return cls.named(None if Token.is_unresolved(region) else region)

    @classmethod
    def named(cls, name: str | None, endpoint: str | None = None) -> Self:
        """Return the region of a name; one that CDK does not know yet counts as commercial.

        Args:
            name: The name, None or empty if it is not known.
            endpoint: The URL that AWS's tools send requests to instead of AWS, if there is one; source:
                https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
        """
        partition = RegionInfo.get(name).partition if name else None
        host = urlsplit(endpoint).hostname if endpoint else None
        is_emulated = bool(host and not host.endswith(tuple(f".{domain}" for domain in _AWS_DOMAINS)))
        return cls(name or None, partition or COMMERCIAL, is_emulated)

    @property
    def has_saved_queries(self) -> bool:
        """Whether CloudFormation has query definitions here; MiniStack refuses templates that have any."""
        return not self.is_emulated

    @property
    def has_snap_start(self) -> bool:
        """Whether Lambda is known to have SnapStart for Python here."""
        return self.partition == COMMERCIAL and self.name not in _WITHOUT_SNAP_START

    @property
    def has_function_urls(self) -> bool:
        """Whether Lambda is known to have function URLs here."""
        return self.partition not in _PARTITIONS_WITHOUT_FUNCTION_URLS and self.name not in _WITHOUT_FUNCTION_URLS

    @property
    def has_edge_monitoring(self) -> bool:
        """Whether alarms on CloudFront's metrics, and deliveries of its logs, can be made here.

        Both can only be in us-east-1; a dashboard can show those metrics from anywhere. Sources:
        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/programming-cloudwatch-metrics.html and
        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logging.html
        """
        return self.name in {None, US_EAST_1}

    @property
    def has_additional_edge_metrics(self) -> bool:
        """Whether CloudFormation has monitoring subscriptions of CloudFront here; MiniStack does not."""
        return not self.is_emulated

    @property
    def largest_event_kilobytes(self) -> int:
        """What an asynchronous invocation, an event and a message of SQS can have, in KB.

        Source: https://aws.amazon.com/blogs/compute/more-room-to-build-serverless-services-now-support-payloads-up-to-1-mb
        """
        return 1024 if self.partition == COMMERCIAL and self.name not in _WITH_SMALL_EVENTS else 256

    @property
    def console_host(self) -> str | None:
        """The host of the AWS console, None where it is not known."""
        host = _CONSOLES.get(self.partition)
        return f"{self.name}.{host}" if host and self.name else host
