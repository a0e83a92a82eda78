"""Computes costs and loads, and writes the tables into docs/settings.md and docs/performance.md: `make costs`."""

from pathlib import Path

from benchmarks import prices, report
from benchmarks.load_model import Function, Load, costs_table, loads_table, outcome
from benchmarks.report import table, with_block

DOCUMENT = Path(__file__).parent.parent / "docs" / "settings.md"

# tests/infra/test_monitoring.py compares these with the stack.
ALARMS = 15
MORE_ALARMS = {"imagePull": 2, "pullEvents": 1, "edge": 5}
DASHBOARD_METRICS = 27

# LayersResolved, CacheHits, EcrCallLatency and ColdStart, and Requests of one kind of caller and one outcome.
_METRICS_IN_USE = 5
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/programming-cloudwatch-metrics.html
_METRICS_OF_DISTRIBUTION = 8
_EDGE_MONTH = MORE_ALARMS["edge"] * prices.ALARM + _METRICS_OF_DISTRIBUTION * prices.METRIC
_FREE_ALARMS = 10
_DAYS = 30
_HOURS = _DAYS * 24

_REQUESTS_OF_PULL = 10
"""The challenge, an index, a manifest, a config and six layers."""
_GIGABYTES_OF_A_MILLION_ANSWERS = 3
_KEPT_AT_EDGE = 0.9
_GIGABYTES_OF_PULLS = 100 * _DAYS * 0.2
"""What 100 pulls a day of 200 MB download in a month."""


def fixed_table() -> list[list[str]]:
    """Return what a month costs, however many requests there are."""
    memory_gigabytes = Function().memory_mb / 1024
    cache = memory_gigabytes * _HOURS * 3600 * prices.SNAPSHOT_GIGABYTE_SECOND
    total = cache + ALARMS * prices.ALARM + prices.DASHBOARD
    without_free = total - _FREE_ALARMS * prices.ALARM - prices.DASHBOARD
    more = {name: count * prices.ALARM for name, count in MORE_ALARMS.items()}
    restores = 1000 * memory_gigabytes * prices.RESTORED_GIGABYTE
    return [
        ["a month", "dollars", "to pay less"],
        [f"SnapStart's cache of {Function().memory_mb} MB", f"{cache:.2f}", "smaller `memorySize`; `snapStart: false`"],
        [f"{ALARMS} alarms", f"{ALARMS * prices.ALARM:.2f}", f"{_FREE_ALARMS} are free in each account"],
        [f"dashboard with {DASHBOARD_METRICS} metrics", f"{prices.DASHBOARD:.2f}", "3 with up to 50 are free"],
        ["**total without traffic**", f"**{total:.2f}**", f"{without_free:.2f} with these free tiers"],
        [
            f"{_METRICS_IN_USE} custom metrics, with one kind of caller all day and no errors",
            f"{_METRICS_IN_USE * prices.METRIC:.2f}",
            "10 are free in each account",
        ],
        ["1,000 restores from SnapStart's cache", f"{restores:.2f}", "smaller `memorySize`"],
        [f"`imagePull`: {MORE_ALARMS['imagePull']} more alarms", f"{more['imagePull']:.2f}", ""],
        [f"`pullEvents`: {MORE_ALARMS['pullEvents']} more alarm", f"{more['pullEvents']:.2f}", ""],
        [
            f"`edge`: {MORE_ALARMS['edge']} more alarms, {_METRICS_OF_DISTRIBUTION} CloudFront metrics",
            f"{_EDGE_MONTH:.2f}",
            "",
        ],
    ]


def requests_table() -> list[list[str]]:
    """Return what a million requests cost, each for one layer."""
    function = Function()
    cached, asked = function.dollars(1), function.dollars(0)
    times = [function.billed_ms(function.hit_ms), function.billed_ms(function.miss_ms, function.ecr_ms)]
    durations = f"{times[0]} or {times[1]} ms at {function.memory_mb} MB"
    kilobytes = function.log_bytes / 1000
    return [
        ["a million requests", "URL cached", "ECR called", "to pay less"],
        ["Lambda, requests", *_two(cached["requests"], asked["requests"]), "`POST /download-urls`"],
        [f"Lambda, {durations}", *_two(cached["duration"], asked["duration"]), "the same"],
        [f"logs and metrics, {kilobytes} KB each", *_two(cached["logs"], asked["logs"]), "`logLevel: WARNING`"],
        ["**total**", f"**{sum(cached.values()):.2f}**", f"**{sum(asked.values()):.2f}**", ""],
        ["`pullEvents`, in addition", *_two(prices.MILLION_EVENTS, prices.MILLION_EVENTS), ""],
        [
            "as events, in addition: request and result",
            *_two(2 * prices.MILLION_EVENTS, 2 * prices.MILLION_EVENTS),
            "several layers in one event",
        ],
        ["`edge`, in addition", *_two(_edge_million(), _edge_million()), "`edgeCacheSeconds`"],
    ]


def pulls_table() -> list[list[str]]:
    """Return what pulls through the edge cost in a month, its fixed costs included."""
    rows = [["pulls a day", "requests a month", "dollars a month", "with `edgeCacheSeconds`, 9 of 10 answers kept"]]
    for pulls in (1, 100, 10_000):
        millions = pulls * _REQUESTS_OF_PULL * _DAYS / 1e6
        costs = (f"{_edge_month(millions, kept):.2f}" for kept in (0, _KEPT_AT_EDGE))
        rows.append([f"{pulls:,}", f"{millions * 1e6:,.0f}", *costs])
    return rows


def ways_table() -> list[list[str]]:
    """Return what 100 pulls a day of 200 MB cost in a month, by the way they take."""
    gigabytes = _GIGABYTES_OF_PULLS
    edge = _edge_month(100 * _REQUESTS_OF_PULL * _DAYS / 1e6, 0)
    nat = _HOURS * prices.NAT_HOUR + gigabytes * prices.NAT_GIGABYTE
    endpoints = 2 * _HOURS * prices.ENDPOINT_HOUR
    return [
        ["100 pulls a day of 200 MB", "dollars a month", "clients need"],
        ["the edge", f"{edge:.2f}", "a pull token"],
        ["NAT gateway, for each zone", f"{nat:.2f}", "credentials for ECR"],
        ["interface endpoints of ECR, for each zone", f"{endpoints:.2f}", "the same, inside the VPC"],
        [
            f"{gigabytes:.0f} GB to the internet, whichever way",
            f"{gigabytes * prices.ECR_GIGABYTE:.2f}",
            "nothing is charged within the region",
        ],
    ]


def documents() -> dict[Path, str]:
    """Return the documents with all tables up to date.

    Raises:
        ValueError: If one lacks the place of a table.
    """
    function = Function()
    loads = [Load(requests, layers=layers) for requests in (10, 1_000, 10_000, 100_000) for layers in (200, 5_000)]
    tables = {
        DOCUMENT: {
            "month": fixed_table(),
            "million": requests_table(),
            "pulls": pulls_table(),
            "ways": ways_table(),
        },
        report.DOCUMENT: {
            "loads": loads_table(function, loads),
            "costs": costs_table(function, outcome(Load(1_000), function).hit_rate),
        },
    }
    return {path: _with_tables(path.read_text(), named) for path, named in tables.items()}


def _with_tables(text: str, tables: dict[str, list[list[str]]]) -> str:
    for name, rows in tables.items():
        begin = f"<!-- {name}: written by `make costs` from here -->"
        text = with_block(text, begin, "<!-- to here -->", table(rows))
    return text


def _edge_million() -> float:
    runs = 2 * prices.EDGE_MILLION_FUNCTION_RUNS
    transfer = _GIGABYTES_OF_A_MILLION_ANSWERS * prices.EDGE_GIGABYTE
    return prices.EDGE_MILLION_REQUESTS + runs + prices.EDGE_MILLION_STORE_READS + transfer


def _edge_month(millions: float, kept: float) -> float:
    return _EDGE_MONTH + millions * (_edge_million() + (1 - kept) * sum(Function().dollars(0).values()))


def _two(first: float, second: float) -> tuple[str, str]:
    return f"{first:.2f}", f"{second:.2f}"


if __name__ == "__main__":
    for document, text in documents().items():
        document.write_text(text)
