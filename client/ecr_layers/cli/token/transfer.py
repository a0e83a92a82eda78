"""`ecr-layers token export` and `import`."""

import json
from pathlib import Path
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import tell
from ecr_layers.cli.secret_file import secret_output
from ecr_layers.cli.token.options import file_options, open_deployment, open_store, require_ops, store_options
from ecr_layers.errors import UsageError, escaped

# A store has at most 5 MB:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html
_LARGEST_FILE = 16 * 1024 * 1024


@click.command("export", short_help="Write all tokens to a file")
@file_options
@store_options
def export_tokens(path: Path | None, *, overwrite: bool, **options: Any) -> int:
    """Write all tokens as JSON, for a backup or another stack. It has the passwords' hashes, and no password."""
    require_ops()
    from ecr_layers.ops.pull_tokens import entry_of  # noqa: PLC0415

    with secret_output(path, overwrites=overwrite) as write:
        found = {name: entry_of(value) for name, value in open_store(options).entries().items()}
        tokens = {name: entry for name, entry in found.items() if entry is not None}
        write(json.dumps({"tokens": tokens}, indent=2))
    tell(f"Exported {_count(len(tokens))}.", prefix="")
    for name in sorted(found.keys() - tokens.keys()):
        tell(f"note: left {escaped(name)} out; its entry in the store is broken.")
    return 0


@click.command("import", short_help="Read tokens that were exported")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, exists=True, allow_dash=True))
@click.option("--overwrite", is_flag=True, help="replace tokens that have the same names")
@store_options
def import_tokens(path: Path, *, overwrite: bool, **options: Any) -> int:
    """Read tokens that were exported, and write them to the store. Their passwords stay valid.

    All are checked first: their names, dates, and that their scopes lie within the deployment's repositories.
    """
    require_ops()
    from ecr_layers.ops.pull_tokens import checked_value  # noqa: PLC0415

    tokens = _read(path)
    deployment, store = open_deployment(options)
    served, registries = deployment.repositories, deployment.registries
    entries = {name: checked_value(name, entry, served, registries) for name, entry in tokens.items()}
    written = store.put_all(entries, overwrites=overwrite)
    there = len(entries) - written
    output.write_line(f"Imported {_count(written)}.{f' {there} already there.' if there else ''}")
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        with click.open_file(str(path), "rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"Can't read {path}: {error.strerror}.") from None
    try:
        tokens = json.loads(content)["tokens"] if len(content) <= _LARGEST_FILE else None
    except (ValueError, RecursionError, KeyError, TypeError):
        tokens = None
    if not isinstance(tokens, dict):
        raise UsageError(f"{path} isn't a file that `ecr-layers token export` wrote.")
    return tokens


def _count(number: int) -> str:
    return f"{number} token{'' if number == 1 else 's'}"
