"""The dashboard as a picture: the synthesized definition, with made-up figures in the place of CloudWatch's."""

import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.pictures import svg

_COLUMN, _ROW, _MARGIN = 44.0, 38.0, 8.0
_POINTS = 36
_RARE = 10.0

# About how high each metric is in five minutes of a deployment that does well; all others are at 0.
_LEVELS: Mapping[str, float] = {
    "Invocations": 930, "UrlRequestCount": 890, "Url4xxCount": 7, "ConcurrentExecutions": 5, "ColdStart": 1.5,
    "UrlRequestLatency": 19, "UrlRequestLatency Maximum": 310,
    "Duration p50": 6, "Duration p90": 29, "Duration p99": 84,
    "LayersResolved": 4300, "CacheHits": 3900,
    "EcrCallLatency p50": 21, "EcrCallLatency p90": 44, "EcrCallLatency p99": 96,
    "MatchedEvents": 40, "AWS/Events Invocations": 40,
}  # fmt: skip
_SEARCHED = {
    "LayersFailed": {"LayersNotFoundException": 6.0, "ThrottlingException": 0.8},
    "RequestsFailed": {"LayersNotFoundException": 5.0, "InvalidParameterException": 2.0},
    "Requests": {"iam answered": 300.0, "event answered": 40.0, "iam refused": 8.0},
}


def widgets_of(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the widgets of the dashboard in a CloudFormation template, with logical ids where names come later.

    Args:
        template: The template.
    """
    (body,) = [
        resource["Properties"]["DashboardBody"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::CloudWatch::Dashboard"
    ]
    parts = body if isinstance(body, str) else body["Fn::Join"][1]
    widgets: list[dict[str, Any]] = json.loads("".join(map(_known, parts)))["widgets"]
    return widgets


def _known(part: Any) -> str:
    """Return a part of the definition, or the logical id of the resource whose name or ARN it will be."""
    if isinstance(part, str):
        return part
    found = re.search(r"'(?:Ref|Fn::GetAtt)': \[?'([\w:]+)'", str(part))
    return found[1] if found else ""


def dashboard(widgets: Sequence[Mapping[str, Any]]) -> str:
    """Return the picture as an SVG document.

    Args:
        widgets: The widgets, as CloudWatch takes them.
    """
    height = max(widget["y"] + widget["height"] for widget in widgets) * _ROW
    elements = [element for widget in widgets for element in _draw(widget)]
    title = "Dashboard of the ECR Layer Resolver, with made-up figures"
    return svg.document(24 * _COLUMN, height + _MARGIN, title, elements)


def _draw(widget: Mapping[str, Any]) -> Iterator[str]:
    left, top = widget["x"] * _COLUMN + _MARGIN / 2, widget["y"] * _ROW + _MARGIN / 2
    width, height = widget["width"] * _COLUMN - _MARGIN, widget["height"] * _ROW - _MARGIN
    properties = widget["properties"]
    if widget["type"] == "text":
        yield svg.text(left + 4, top + 22, _plain(properties["markdown"]), "heading")
        return
    yield svg.rectangle(left, top, width, height, "group", 4)
    yield svg.text(left + 10, top + 19, _cut(properties["title"], width - 20, 7.4), "title")
    if widget["type"] == "alarm":
        yield from _alarms(properties["alarms"], left + 10, top + 32, width - 20)
        return
    yield from _plot(_series(properties["metrics"], properties["title"]), left + 44, top + 34, width - 58, height - 90)


def _alarms(identifiers: Sequence[str], left: float, top: float, width: float) -> Iterator[str]:
    """Yield the alarms in four columns, none of them on."""
    for number, identifier in enumerate(identifiers):
        x, y = left + width / 4 * (number % 4), top + 31 * (number // 4)
        name = re.sub(r"^Monitoring|Alarm[0-9A-F]{8}$", "", identifier)
        yield svg.rectangle(x, y, width / 4 - 6, 25, "box", 4)
        yield svg.rectangle(x, y, 5, 25, "fine")
        yield svg.text(x + 11, y + 17, _cut(name, width / 4 - 20, 5.9), "small")


def _plain(markdown: str) -> str:
    """Return the text of a heading, without its marks and links."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("*", "").lstrip("# ")


def _cut(content: str, width: float, width_of_letter: float) -> str:
    """Return as much of a text as there is room for."""
    letters = int(width / width_of_letter)
    return content if len(content) <= letters else f"{content[: letters - 1]}…"


def _series(metrics: Sequence[Sequence[Any]], title: str) -> dict[str, list[float]]:
    """Return the lines of a widget by their labels; those that are high move together."""
    lines: dict[str, list[float]] = {}
    for metric in metrics:
        options = metric[-1] if isinstance(metric[-1], dict) else {}
        if options.get("visible") is False:
            continue
        if "expression" in options:
            lines |= _of_expression(options)
            continue
        statistic = options.get("stat", "Average")
        names = (f"{metric[0]} {metric[1]}", f"{metric[1]} {statistic}", metric[1])
        level = next((_LEVELS[name] for name in names if name in _LEVELS), 0.0)
        label = options.get("label") or (f"{metric[1]} {statistic}" if statistic != "Sum" else metric[1])
        lines[label.partition(" (avg:")[0]] = _values(label if level < _RARE else title, level)
    return lines


def _of_expression(options: Mapping[str, Any]) -> dict[str, list[float]]:
    (searched,) = re.findall(r'MetricName="(\w+)"', options["expression"])
    return {label: _values(label, level) for label, level in _SEARCHED[searched].items()}


def _values(name: str, level: float) -> list[float]:
    chance = random.Random(name)  # noqa: S311
    wave = [1 + 0.25 * math.sin(point / 7) + chance.uniform(-0.18, 0.18) for point in range(_POINTS)]
    # What is rare comes as whole numbers now and then.
    return [float(round(level * each * chance.uniform(0, 2))) if level < _RARE else level * each for each in wave]


def _plot(lines: Mapping[str, Sequence[float]], left: float, top: float, width: float, height: float) -> Iterator[str]:
    highest = _round_up(max(max(values) for values in lines.values()))
    for part in (0, 0.5, 1):
        y = top + height * (1 - part)
        yield svg.polyline(((left, y), (left + width, y)), "grid")
        yield svg.text(left - 6, y + 4, f"{highest * part:,g}", "small", "end")
    for number, values in enumerate(lines.values()):
        points = [
            (left + width * index / (len(values) - 1), top + height * (1 - value / highest))
            for index, value in enumerate(values)
        ]
        yield svg.polyline(points, colour=_colour(number))
    yield from _legend(list(lines), left - 34, top + height + 14, left + width)


def _legend(labels: Sequence[str], left: float, top: float, right: float) -> Iterator[str]:
    x, y = left, top
    for number, label in enumerate(labels):
        shown = _cut(label, right - left - 16, 5.9)
        if x > left and x + 14 + 5.9 * len(shown) > right:
            x, y = left, y + 13
        yield svg.polyline(((x, y), (x + 10, y)), colour=_colour(number))
        yield svg.text(x + 14, y + 4, shown, "small")
        x += 28 + 5.9 * len(shown)


def _colour(number: int) -> str:
    return svg.SERIES[number % len(svg.SERIES)]


def _round_up(value: float) -> float:
    """Return the next higher of 1, 2, 5, 10, 20 and so on."""
    if value <= 0:
        return 1.0
    magnitude = 10 ** math.floor(math.log10(value))
    return float(next(step * magnitude for step in (1, 2, 5, 10) if step * magnitude >= value))
