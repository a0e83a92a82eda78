"""The examples in README.md, docs/client.md and the HTTP pages print what they say."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import CLIENT, ROOT, Server, tool

README, CLIENT_PAGE = ((ROOT / name).read_text() for name in ("README.md", "docs/client.md"))
HTTP_PAGES = README + "".join((ROOT / "docs" / name).read_text() for name in ("api.md", "registry.md"))
CURL = re.findall(r"^\$ (curl [^\n]*127\.0\.0\.1:9000[^\n]*)\n([^$`\n]+)$", HTTP_PAGES, re.MULTILINE)
BLOCKS = re.findall(r"^```console\n(.*?)^```", README + CLIENT_PAGE, re.MULTILINE | re.DOTALL)
# Without those that have something to be filled in. Those of a block belong together.
COMMANDS = [
    found
    for block in BLOCKS
    if (found := re.findall(r"^\$ (?:\.venv/bin/)?ecr-layers ([^\n…]+)\n((?:[^$\n][^\n]*\n)*)", block, re.MULTILINE))
]
PROGRAMS = re.findall(
    r"^```python\n(.*?)^```\n(?:\nprints\n\n```text\n(.*?)^```)?", CLIENT_PAGE, re.MULTILINE | re.DOTALL
)


def run(command: list[str], directory: Path, server: Server) -> str:
    """Run an example, and return what it prints."""
    local = [word.replace("http://127.0.0.1:9000", server.url) for word in command]
    # "env" adds to this process's environment.
    result = subprocess.run(
        ["env", f"ECR_LAYERS_URL={server.url}", *local],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    output = result.stdout.decode(errors="replace")
    assert result.returncode == 0, output
    return output


def matches(printed: str, output: str) -> bool:
    """Tell whether an output is as printed, where "…" stands for what differs from run to run."""
    return bool(re.fullmatch(re.escape(printed).replace("…", ".*"), output, re.DOTALL))


def test_the_documents_have_examples() -> None:
    assert len(CURL) == len(re.findall(r"^\$ curl .*127\.0\.0\.1", HTTP_PAGES, re.MULTILINE)) >= 9
    assert sum(".venv/bin/ecr-layers" in block for block in BLOCKS) == README.count("$ .venv/bin/ecr-layers ") >= 1
    assert sum(map(len, COMMANDS)) >= 13
    assert len(PROGRAMS) == CLIENT_PAGE.count("```python") >= 1


@pytest.mark.parametrize(("command", "printed"), CURL, ids=lambda text: text[:60])
def test_a_curl_example_prints_what_its_page_says(server: Server, tmp_path: Path, command: str, printed: str) -> None:
    tool("curl")
    assert matches(printed, run(["/bin/sh", "-c", command], tmp_path, server))


@pytest.mark.parametrize("examples", COMMANDS, ids=lambda examples: str(examples[0][0])[:60])
def test_examples_of_the_client_print_what_the_document_says(
    server: Server, tmp_path: Path, examples: list[tuple[str, str]]
) -> None:
    for line, printed in examples:
        arguments, _, file = line.partition(" > ")
        output = run([*CLIENT, *shlex.split(arguments)], tmp_path, server)
        assert file or matches(printed, output), line


@pytest.mark.parametrize(("program", "printed"), PROGRAMS)
def test_a_program_prints_what_the_document_says(server: Server, tmp_path: Path, program: str, printed: str) -> None:
    output = run([sys.executable, "-c", program], tmp_path, server)
    assert not printed or output == printed
