"""Where settings come from: files, which stay, or the command line, which does not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.regions import Region
from infra.settings import DeploymentSettings, as_list

COMMAND_LINE = "command line"


def context_files(project: Path, home: Path) -> dict[str, Path]:
    """Return the files that the CDK CLI takes context from, by their names, the first that counts first.

    Source: https://docs.aws.amazon.com/cdk/v2/guide/context.html
    """
    return {
        "cdk.json": project / "cdk.json",
        "cdk.context.json": project / "cdk.context.json",
        "~/.cdk.json": home / ".cdk.json",
    }


def sources_of(context: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, str]:
    """Return where each key of the context comes from: a file, or the command line.

    Args:
        context: What the CLI has put together.
        files: The files that context comes from, by their names.
    """
    contexts = {name: _context(name, path) for name, path in files.items()}
    return {name: _source(name, value, contexts) for name, value in context.items()}


def describe(
    settings: DeploymentSettings, context: dict[str, Any], region: Region, files: dict[str, Path]
) -> list[str]:
    """Return lines for the operator: the settings that are not the defaults, and what will not last.

    Args:
        settings: The settings.
        context: What the CLI has put together.
        region: Where they are for.
        files: The files that context comes from, by their names.
    """
    sources = sources_of(context, files)
    values, changes = settings.values(), settings.changes()
    shown = {name: values[name] for name in values if name in changes or sources.get(name) == COMMAND_LINE}
    if not shown:
        return ["All settings have their defaults."]
    lines = ["Settings that are not the defaults, or come from the command line:"]
    default = f"default in {region.name or 'this region'}{', which is emulated' if region.is_emulated else ''}"
    lines += [f"  {name} = {_shown(value)}  ({sources.get(name, default)})" for name, value in shown.items()]
    passing = [name for name in shown if sources.get(name) == COMMAND_LINE]
    if passing:
        lines.append(
            f"Warning: what the command line sets lasts for this deployment only: {', '.join(passing)}. The next "
            "deployment without it goes back to cdk.json, or to the default. To keep it, put it into cdk.json."
        )
    return lines


def _context(name: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # The CLI has said so already if the file is one that it can't read.
        return {}
    if name != "cdk.context.json" and isinstance(content, dict):
        content = content.get("context")
    return content if isinstance(content, dict) else {}


def _source(name: str, value: Any, contexts: dict[str, dict[str, Any]]) -> str:
    for source, context in contexts.items():
        if name in context:
            return source if _comparable(context[name]) == _comparable(value) else COMMAND_LINE
    return COMMAND_LINE


def _comparable(value: Any) -> Any:
    """Return a value in the form in which that of a file and the same from the command line are equal."""
    text = str(value).lower() if isinstance(value, bool | int) else value
    try:
        return as_list(text)
    except ValueError:
        return value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
