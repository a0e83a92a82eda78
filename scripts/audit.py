"""Checks all locks for known vulnerabilities, and the sources for unsafe code.

pip-audit asks the Python Package Index about each library, or else OSV. The audit fails if it can reach neither.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SERVICES = ("pypi", "osv")
"""Services that pip-audit asks, in this order."""

# Tests and benchmarks do on purpose what bandit warns about. Ruff checks low severity, with exceptions by line.
_SOURCES = ("app.py", "client", "infra", "lambda_src", "local", "scripts")
_BANDIT_OPTIONS = ("--quiet", "--recursive", "--severity-level", "medium")


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about one library.

    Attributes:
        library: Its name and version.
        text: The vulnerability, and the versions that fix it.
    """

    library: str
    text: str


class UnreachableError(Exception):
    """No service knows a library of a lock."""


def locks() -> list[Path]:
    """Return all locks of Python libraries."""
    return sorted([*ROOT.glob("requirements*.txt"), *ROOT.glob("lambda_src/*.txt"), *ROOT.glob("tests/tools/*.txt")])


def audit_lock(pip_audit: Path, lock: Path, services: tuple[str, ...] = SERVICES) -> tuple[int, list[Finding]]:
    """Return the number of libraries in a lock, and the findings.

    Args:
        pip_audit: The tool.
        lock: The lock, with hashes.
        services: Services to ask; the first that knows a library of the lock is used.

    Raises:
        UnreachableError: If no service can be reached.
    """
    for service in services:
        dependencies = _ask(pip_audit, lock, service)
        if any("skip_reason" not in each for each in dependencies):
            return len(dependencies), list(_findings(dependencies))
    raise UnreachableError


def _ask(pip_audit: Path, lock: Path, service: str) -> list[dict[str, Any]]:
    command = [
        str(pip_audit), "--vulnerability-service", service, "--disable-pip", "--require-hashes", "--format", "json",
        "--progress-spinner", "off", "--timeout", "20", "--requirement", str(lock),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        dependencies: list[dict[str, Any]] = json.loads(result.stdout)["dependencies"]
    except json.JSONDecodeError:
        # Without a connection, it ends with a traceback.
        return []
    return dependencies


def _findings(dependencies: list[dict[str, Any]]) -> Iterator[Finding]:
    for dependency in dependencies:
        if "skip_reason" in dependency:
            yield Finding(dependency["name"], f"not audited: {dependency['skip_reason']}")
            continue
        library = f"{dependency['name']} {dependency['version']}"
        for vulnerability in dependency["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            yield Finding(library, f"{vulnerability['id']}, fixed in {fixed}")


def audit_locks(pip_audit: Path) -> int:
    """Audit all locks, print the findings, and return the exit status."""
    status = 0
    for lock in locks():
        name = lock.relative_to(ROOT)
        try:
            count, findings = audit_lock(pip_audit, lock)
        except UnreachableError:
            print(
                f"Not audited: {name} and the locks after it. Neither the Python Package Index nor OSV is reachable. "
                "Run `make audit` where one of them is.",
                file=sys.stderr,
            )
            return 2
        print(f"{name}: {count} libraries, {len(findings) or 'no'} findings")
        for finding in findings:
            print(f"  {finding.library}: {finding.text}")
            status = 1
    return status


def audit_sources(bandit: Path) -> int:
    """Run bandit on the sources, and return its exit status."""
    sources = [source for source in _SOURCES if (ROOT / source).exists()]
    result = subprocess.run([str(bandit), *_BANDIT_OPTIONS, *sources], cwd=ROOT, check=False)  # noqa: S603
    if result.returncode == 0:
        print(f"bandit: no findings in {', '.join(sources)}")
    return result.returncode


def main() -> int:
    """Run both audits and return the exit status: 1 for findings, 2 if the locks could not be audited."""
    parser = argparse.ArgumentParser(description="Audit the locks with pip-audit and the sources with bandit.")
    parser.add_argument("--tools", type=Path, required=True, help="directory with pip-audit and bandit")
    tools = parser.parse_args().tools
    return max(audit_sources(tools / "bandit"), audit_locks(tools / "pip-audit"))


if __name__ == "__main__":
    sys.exit(main())
