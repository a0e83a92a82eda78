"""What docs/client.md shows is what happens."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import CLIENT, ROOT, Server

DOCUMENT = (ROOT / "docs" / "client.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
# Without those that have something to be filled in. Those of a block belong together.
COMMANDS = [
    found
    for block in BLOCKS
    if (found := re.findall(r"^\$ ecr-layers ([^\n…]+)\n((?:[^$\n][^\n]*\n)*)", block, re.MULTILINE))
]
PROGRAMS = re.findall(r"^```python\n(.*?)^```\n(?:\nprints\n\n```text\n(.*?)^```)?", DOCUMENT, re.MULTILINE | re.DOTALL)


def run(command: list[str], server: Server, directory: Path) -> str:
    result = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | {"ECR_LAYERS_URL": server.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    output = result.stdout.decode(errors="replace")
    assert result.returncode == 0, output
    return output


def test_the_document_has_examples() -> None:
    assert sum(map(len, COMMANDS)) >= 12
    assert len(PROGRAMS) == DOCUMENT.count("```python") >= 1


@pytest.mark.parametrize("examples", COMMANDS, ids=lambda examples: str(examples[0][0])[:60])
def test_examples_print_what_the_document_says(server: Server, tmp_path: Path, examples: list[tuple[str, str]]) -> None:
    for line, printed in examples:
        arguments, _, file = line.partition(" > ")
        output = run([*CLIENT, *shlex.split(arguments)], server, tmp_path)
        assert file or re.fullmatch(re.escape(printed).replace("…", ".*"), output, re.DOTALL), line


@pytest.mark.parametrize(("program", "printed"), PROGRAMS)
def test_a_program_prints_what_the_document_says(server: Server, tmp_path: Path, program: str, printed: str) -> None:
    output = run([sys.executable, "-c", program.replace("http://127.0.0.1:9000", server.url)], server, tmp_path)
    assert not printed or output == printed
