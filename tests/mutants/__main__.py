"""Makes mutants of the modules that decide, and tells which of them no test notices: `make mutants`.

A mutant is a module with one small mistake in it. Each is tested in a copy of the project, by the tests that are called
as the module is, and by some of those that run the line with the mistake.
"""

import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import coverage
import pytest

ROOT = Path(__file__).parents[2]
COSMIC_RAY = ROOT / ".venv" / "tools" / "mutants" / "bin" / "python"
EXPLAINED = Path(__file__).with_name("explained.json")
PROMISES = Path(__file__).with_name("promises.json")
REPORT = ROOT / "build" / "mutants.json"

SAMPLE = int(os.environ.get("SAMPLE", "400"))
SEED = os.environ.get("SEED", "1")
PARTS = os.environ.get("PARTS", "function,infra").split(",")
WORKERS = 2
LONGEST_SECONDS = 600
"""How long the tests of one mutant may take; one that never ends is noticed."""

FUNCTION = "lambda_src/layer_resolver"
MODULES = {
    "function": [
        f"{FUNCTION}/{name}.py"
        for name in (
            "backend", "blobs", "callers", "download_urls", "ecr", "errors", "event_api", "foreign_events",
            "function_url", "handler", "http_api", "images", "invocation", "manifests", "models", "network",
            "observability", "pull_events", "redaction", "registry_api", "resolver", "settings", "validation",
        )
    ],
    "infra": [
        f"infra/{name}.py"
        for name in (
            "asset", "audit", "edge", "event_triggers", "limits", "monitoring", "regions", "resolver_function",
            "settings", "sources", "stack",
        )
    ],
}  # fmt: skip
TESTS = ["tests/unit"]
OWN_TESTS = {
    "backend": ["test_http_api", "test_registry_api"],
    "blobs": ["test_registry_api", "test_image_configs"],
    "errors": ["test_errors", "test_registry_api"],
    "foreign_events": ["test_event_api"],
    "function_url": ["test_http_api", "test_bounds"],
    "images": ["test_registry_api", "test_untrusted_answers", "test_observability"],
    "invocation": ["test_observability"],
    "manifests": ["test_http_api", "test_image_configs"],
    "models": ["test_values", "test_http_api"],
    "validation": ["test_values", "test_http_api"],
}
"""Where to look first for what is wrong with a module, if not in the tests that are called as it is."""

INFRA_TESTS = {
    "asset": ["tests/infra/test_asset.py"],
    "sources": ["tests/infra/test_sources.py", "tests/infra/test_asset.py"],
    "settings": [
        "tests/infra/test_settings.py",
        "tests/infra/test_edge.py",
        "tests/infra/test_app.py",
        "tests/infra/test_template.py",
    ],
    "limits": ["tests/infra/test_limits.py", "tests/infra/test_template.py"],
    "audit": ["tests/infra/test_monitoring.py"],
    "edge": ["tests/infra/test_edge.py", "tests/infra/test_template.py"],
    "regions": ["tests/infra/test_settings.py", "tests/infra/test_edge.py", "tests/infra/test_app.py"],
    "stack": ["tests/infra/test_template.py", "tests/infra/test_edge.py", "tests/infra/test_app.py"],
    "monitoring": ["tests/infra/test_monitoring.py", "tests/infra/test_edge.py", "tests/infra/test_template.py"],
    "event_triggers": ["tests/infra/test_template.py", "tests/infra/test_monitoring.py"],
    "resolver_function": ["tests/infra/test_template.py", "tests/infra/test_limits.py"],
}
MOST_OTHERS = 20
"""How many tests run at first that are not called as the module is; a mutant that they don't notice meets all."""

LIBRARIES = (
    "aws_lambda_powertools.logging.formatter", "aws_lambda_powertools.utilities.parser.models", "botocore.session",
    "botocore.httpsession", "cachetools", "httpx", "hypothesis.strategies", "pydantic", "trustme", "urllib3",
)  # fmt: skip
"""What takes long to load, and is not the project's own."""

SHARES = {"function": 0.8, "infra": 0.2}
"""What part of the sample is of which part of the project; tests of the stack take longer."""

NOT_COPIED = (".git", ".venv", "node_modules", "build", "cdk.out", "__pycache__", ".mypy_cache", ".ruff_cache")


@dataclass(frozen=True)
class Mutant:
    """A module with a mistake in it.

    Attributes:
        part: Which part of the project it is of.
        module: The path of the module.
        operator: What kind of mistake it is.
        line: The number of the line with it.
        before: The line as it is.
        after: The line with the mistake.
        code: The whole module with the mistake.
        tests: The tests that have to notice it, if they are known.
    """

    part: str
    module: str
    operator: str
    line: int
    before: str
    after: str
    code: str
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called in the report and among the explained ones."""
        return f"{self.module}: {self.before} => {self.after}"


class Copy:
    """A copy of the project, in which one mutant at a time takes the place of its module."""

    def __init__(self, directory: Path) -> None:
        self.path = Path(shutil.copytree(ROOT, directory, ignore=shutil.ignore_patterns(*NOT_COPIED)))
        for shared in (".venv", "node_modules"):
            (self.path / shared).symlink_to(ROOT / shared)

    def start(self, mutant: Mutant, tests: list[list[str]]) -> "Run":
        """Let tests begin with a mutant."""
        module = self.path / mutant.module
        original = module.read_text()
        module.write_text(mutant.code)
        first, *later = tests
        return Run(self, mutant, original, _fork(self.path, ["-x", *first]), later)


@dataclass
class Run:
    """Tests that run.

    Attributes:
        copy: Where.
        mutant: The mutant that is there.
        original: The module without the mistake.
        process: The id of the process, which is that of its group as well.
        later: The tests of the runs that follow if this one notices nothing.
    """

    copy: Copy
    mutant: Mutant
    original: str
    process: int
    later: list[list[str]]
    started: float = field(default_factory=time.monotonic)

    def outcome(self) -> str | None:
        """Tell what came of the mutant, None as long as nobody knows."""
        ended, status = os.waitpid(self.process, os.WNOHANG)
        if ended == 0:
            if time.monotonic() - self.started < LONGEST_SECONDS:
                return None
            os.killpg(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        elif status == 0 and self.later:
            self.process, self.started = _fork(self.copy.path, ["-x", *self.later.pop(0)]), time.monotonic()
            return None
        (self.copy.path / self.mutant.module).write_text(self.original)
        if ended == 0:
            return "killed: it never ends"
        code = os.waitstatus_to_exitcode(status)
        if code == pytest.ExitCode.OK:
            return "survived"
        return _why_it_failed(code, (self.copy.path / "tests.log").read_text(errors="replace"))


def _why_it_failed(code: int, log: str) -> str:
    """Tell what ended tests that did not pass, by their exit code and what they printed."""
    if code in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}:
        return " by ".join(["killed", *re.findall(r"^(?:FAILED|ERROR) (\S+)", log, re.MULTILINE)[:1]])
    # What is left open is found when pytest ends, after the last test.
    if "PytestUnraisableExceptionWarning" in log:
        return "killed: something is left open"
    # A module that can't even be imported ends pytest with its configuration, or with the first module of tests.
    if re.search(r"while loading conftest|^ERROR tests/", log, re.MULTILINE):
        return "killed: no import"
    return f"not tested: {log[-500:]}"


# Plugins of pytest's that are loaded already, with the libraries, are no reason to warn.
_OPTIONS = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")


def _fork(directory: Path, arguments: list[str]) -> int:
    """Run pytest in a copy of this process, which has loaded the libraries already, and return its id."""
    process = os.fork()
    if process:
        return process
    os.setsid()
    os.chdir(directory)
    sys.path[0] = str(directory)
    sys.dont_write_bytecode = True
    with (directory / "tests.log").open("wb") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
    ended = pytest.ExitCode.INTERNAL_ERROR
    try:
        ended = pytest.ExitCode(pytest.main([*_OPTIONS, *arguments]))
    except BaseException:
        traceback.print_exc()
    finally:
        # Nothing that is left over, such as a thread that a mutant lets wait, may hold up the end.
        os._exit(ended)


def _check_that_tests_pass(copy: Copy, tests: list[str]) -> None:
    _, status = os.waitpid(_fork(copy.path, tests), 0)
    if status != 0:
        raise SystemExit((copy.path / "tests.log").read_text())


def _tests_of_lines(copy: Copy) -> coverage.CoverageData:
    """Return which tests of the function run which of its lines."""
    _check_that_tests_pass(copy, [*TESTS, "--cov", "--cov-context=test", "--cov-report="])
    data = coverage.CoverageData(str(copy.path / ".coverage"))
    data.read()
    return data


def tests_of(mutant: Mutant, data: coverage.CoverageData, root: Path) -> list[list[str]]:
    """Return the tests that apply, in the order of their runs.

    The module's own come first, with some of those that run the line; then the others of these.
    """
    if mutant.tests:
        return [list(mutant.tests)]
    if mutant.part == "infra":
        return [INFRA_TESTS[Path(mutant.module).stem], ["tests/infra"]]
    contexts = data.contexts_by_lineno(str(root / mutant.module)).get(mutant.line, [])
    running = _names(contexts)
    # Whole files, because a test of what the import has made runs no line of the module.
    stem = Path(mutant.module).stem
    first = [f"{TESTS[0]}/{each}.py" for each in OWN_TESTS.get(stem, [f"test_{stem}"])]
    others = [each for each in running or _names(data.measured_contexts()) if each.partition("::")[0] not in first]
    random.Random(SEED).shuffle(others)
    later = others[MOST_OTHERS:] if running else TESTS
    return [each for each in (first + others[:MOST_OTHERS], later) if each]


def _names(contexts: Iterable[str]) -> list[str]:
    """Return the names of tests, each with all its parameters."""
    return sorted({each.partition("|")[0].partition("[")[0] for each in contexts if each})


def promises() -> list[Mutant]:
    """Return the mutants that break what the documents promise, each of which has to be noticed.

    Raises:
        SystemExit: If a module is no longer as one of them says.
    """
    found = []
    for each in json.loads(PROMISES.read_text()):
        code = (ROOT / each["module"]).read_text()
        before, _, after = code.partition(each["before"])
        if before == code:
            raise SystemExit(f"{PROMISES.name}: {each['module']} no longer has: {each['before']}")
        part = "function" if each["module"].startswith(FUNCTION) else "infra"
        lines = before.count("\n") + 1
        found.append(
            Mutant(
                part, each["module"], each["promise"], lines, each["before"], each["after"],
                f"{before}{each['after']}{after}", tuple(each["tests"]),
            )
        )  # fmt: skip
    return [each for each in found if each.part in PARTS]


def sample() -> list[Mutant]:
    """Return the mutants that are tested: those that break promises, and others by the seed."""
    chosen = promises()
    for part in PARTS:
        count = round(SAMPLE * SHARES[part] / sum(SHARES[each] for each in PARTS))
        command: list[str | Path] = [COSMIC_RAY, "tests/mutants/generate.py", str(count), SEED, *MODULES[part]]
        made, *others = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.splitlines()
        chosen += [Mutant(part, **json.loads(each)) for each in others]
        print(
            f"{part}: {json.loads(made)['made']:,} mutants, of which {len(others)} are tested (SEED={SEED})", flush=True
        )
    return chosen


def outcomes_of(chosen: list[Mutant]) -> Iterator[tuple[Mutant, str]]:
    """Test mutants, several at a time, and yield what came of each."""
    for name in LIBRARIES:
        importlib.import_module(name)
    waiting = list(chosen)
    running: list[Run] = []
    with tempfile.TemporaryDirectory() as directory:
        copies = [Copy(Path(directory) / str(number)) for number in range(WORKERS)]
        # Tests that fail without a mistake would notice every mistake.
        if any(each.part == "infra" for each in chosen):
            _check_that_tests_pass(copies[0], sorted({test for tests in INFRA_TESTS.values() for test in tests}))
        root = copies[0].path
        data = _tests_of_lines(copies[0]) if any(not each.tests for each in chosen) else coverage.CoverageData()
        while waiting or running:
            while waiting and copies:
                mutant = waiting.pop(0)
                running.append(copies.pop().start(mutant, tests_of(mutant, data, root)))
            time.sleep(0.05)
            for run in list(running):
                outcome = run.outcome()
                if outcome is not None:
                    running.remove(run)
                    copies.append(run.copy)
                    yield run.mutant, outcome


def main() -> int:
    """Test a sample, and tell."""
    started = time.monotonic()
    outcomes = []
    for mutant, outcome in outcomes_of(sample()):
        outcomes.append((mutant, outcome))
        if len(outcomes) % 25 == 0:
            print(f"  {len(outcomes)} tested", flush=True)
        if not outcome.startswith("killed"):
            print(f"{outcome}, {len(outcomes)}.: {mutant.operator}, line {mutant.line} of {mutant.name}", flush=True)
    explained: dict[str, str] = json.loads(EXPLAINED.read_text())
    survivors = [mutant for mutant, outcome in outcomes if not outcome.startswith("killed")]
    unexplained = [mutant for mutant in survivors if mutant.name not in explained]
    counted: Counter[str] = Counter(outcome.partition(" by ")[0] for _, outcome in outcomes)
    share = 100 * len(survivors) / len(outcomes)
    print(f"\n{len(outcomes):,} mutants in {(time.monotonic() - started) / 60:.0f} minutes: {dict(counted)}")
    print(f"{share:.1f} of 100 survive, {len(unexplained)} of them without an explanation in {EXPLAINED.name}")
    for mutant in unexplained:
        print(f"  {mutant.operator}, line {mutant.line} of {mutant.name}")
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps([_described(*each) for each in outcomes], indent=1))
    return 1 if unexplained or share > 5 else 0


def _described(mutant: Mutant, outcome: str) -> dict[str, Any]:
    return {"mutant": mutant.name, "operator": mutant.operator, "line": mutant.line, "outcome": outcome}


if __name__ == "__main__":
    sys.exit(main())
