"""The architecture as a picture: the parts of the stack, who calls whom, and where the bytes go."""

from dataclasses import dataclass

from scripts.pictures import svg

_WIDTH, _HEIGHT = 960, 576


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the picture.

    Attributes:
        x: Its left side, in pixels.
        y: Its upper side.
        title: Its name.
        lines: What it is or does, in short lines.
        resources: The types of the resources of the stack that it stands for.
    """

    x: float
    y: float
    title: str
    lines: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    width: float = 150
    height: float = 56


BOXES = (
    Box(20, 86, "HTTPS clients", ("CI jobs, builders, scanners", "skopeo, containerd, oras")),
    Box(20, 246, "Event clients", ("senders of requests,", "subscribers to results")),
    Box(230, 86, "Function URL", ("checks the signature",), ("AWS::Lambda::Url",)),
    Box(230, 246, "Event bus", ("requests and results",), ("AWS::Events::EventBus",)),
    Box(230, 346, "Rules", ("requests; pushes to ECR",), ("AWS::Events::Rule",)),
    Box(
        430,
        166,
        "Alias live",
        ("the newest version",),
        ("AWS::Lambda::Alias", "AWS::Lambda::Version", "AWS::Lambda::EventInvokeConfig"),
        width=120,
    ),
    Box(600, 166, "Lambda function", ("Python 3.13, arm64", "keeps URLs half an hour"), ("AWS::Lambda::Function",)),
    Box(430, 346, "Failure queue", ("what failed, for 14 days",), ("AWS::SQS::Queue",), width=140),
    Box(600, 266, "Log group", ("one line an invocation",), ("AWS::Logs::LogGroup",)),
    Box(
        600,
        346,
        "Dashboard, alarms",
        ("metrics from the log",),
        ("AWS::CloudWatch::Dashboard", "AWS::CloudWatch::Alarm"),
    ),
    Box(600, 420, "SNS topic", ("alarmEmail",), ("AWS::SNS::Topic",), height=44),
    Box(800, 86, "Amazon S3", ("holds the layers",), width=140),
    Box(800, 166, "Amazon ECR", ("GetDownloadUrlForLayer",), width=140),
)

UNSHOWN = frozenset(
    {
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::Lambda::Permission",
        "AWS::Logs::QueryDefinition",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
    }
)
"""Types of resources without a box: who may do what, and saved queries."""

# Points, label, where the label stands and how it is aligned there, and whether the line is a second way.
_ARROWS: tuple[tuple[tuple[tuple[float, float], ...], str, tuple[float, float, str], bool], ...] = (
    (((170, 104), (230, 104)), "1", (200, 98, "middle"), False),
    (((305, 142), (305, 184), (430, 184)), "2", (360, 178, "middle"), False),
    (((550, 184), (600, 184)), "3", (575, 178, "middle"), False),
    (((750, 184), (800, 184)), "4", (775, 178, "middle"), False),
    (((800, 208), (750, 208)), "5", (775, 222, "middle"), False),
    (((230, 128), (170, 128)), "6", (200, 142, "middle"), False),
    (((95, 86), (95, 50), (870, 50), (870, 86)), "7", (482, 44, "middle"), False),
    (((170, 264), (230, 264)), "", (0, 0, "middle"), False),
    (((230, 286), (170, 286)), "", (0, 0, "middle"), True),
    (((305, 302), (305, 346)), "", (0, 0, "middle"), False),
    (((380, 374), (405, 374), (405, 208), (430, 208)), "", (0, 0, "middle"), False),
    (((480, 222), (480, 274), (380, 274)), "results", (412, 290, "start"), True),
    (((520, 222), (520, 346)), "failures", (526, 316, "start"), True),
    (((675, 222), (675, 266)), "", (0, 0, "middle"), True),
    (((675, 322), (675, 346)), "", (0, 0, "middle"), True),
    (((675, 402), (675, 420)), "", (0, 0, "middle"), True),
)

_STEPS = (
    "1  A client asks for a layer, signed with AWS credentials.",
    "2  The function URL lets it through,",
    "3  and Lambda invokes the function.",
    "4  The function asks ECR, unless it knows the URL: by default its only permission there.",
    "5  ECR gives a pre-signed URL of S3.",
    "6  The client gets it, as JSON or as a redirect.",
    "7  The client downloads the layer from S3. No bytes go through Lambda.",
)


def architecture() -> str:
    """Return the picture as an SVG document."""
    elements = [
        svg.rectangle(205, 70, 570, 410, "group", 8),
        svg.text(217, 472, "LayerResolverStack", "small"),
        *(
            svg.polyline(points, "line secondary" if is_second else "line", is_arrow=True)
            for points, _, _, is_second in _ARROWS
        ),
        *(svg.text(x, y, label, "title", anchor) for _, label, (x, y, anchor), _ in _ARROWS if label),
        *(element for box in BOXES for element in _draw(box)),
        *(
            svg.text(20 + 480 * (number // 4), 508 + 17 * (number % 4), step, "small")
            for number, step in enumerate(_STEPS)
        ),
    ]
    return svg.document(_WIDTH, _HEIGHT, "Architecture of the ECR Layer Resolver", elements)


def _draw(box: Box) -> list[str]:
    middle = box.x + box.width / 2
    first = box.y + box.height / 2 + 4 - 7.5 * len(box.lines)
    return [
        svg.rectangle(box.x, box.y, box.width, box.height, "box", 6),
        svg.text(middle, first, box.title, "title", "middle"),
        *(svg.text(middle, first + 15 * (row + 1), line, "small", "middle") for row, line in enumerate(box.lines)),
    ]
