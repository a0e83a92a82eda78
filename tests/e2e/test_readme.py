"""The examples in the README and the HTTP pages print what they say."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.commands import CLIENT, ROOT, Server, tool

README = (ROOT / "README.md").read_text()
DOCUMENTS = README + "".join((ROOT / "docs" / name).read_text() for name in ("api.md", "registry.md"))
EXAMPLES = re.findall(r"^\$ (curl [^\n]*127\.0\.0\.1:9000[^\n]*)\n([^$`\n]+)$", DOCUMENTS, re.MULTILINE)
CLIENT_EXAMPLES = re.findall(
    r"^\$ \.venv/bin/ecr-layers ([^\n]*127\.0\.0\.1:9000[^\n]*)\n((?:[^$`\n][^\n]*\n)+)", README, re.MULTILINE
)


def test_the_documents_have_examples() -> None:
    assert len(CLIENT_EXAMPLES) == README.count("$ .venv/bin/ecr-layers ") >= 1
    assert len(EXAMPLES) == len(re.findall(r"^\$ curl .*127\.0\.0\.1", DOCUMENTS, re.MULTILINE)) >= 9


@pytest.mark.parametrize(("command", "printed"), EXAMPLES, ids=lambda text: text[:60])
def test_a_curl_example_prints_what_its_page_says(server: Server, command: str, printed: str) -> None:
    tool("curl")
    result = subprocess.run(
        ["/bin/sh", "-c", command.replace("http://127.0.0.1:9000", server.url)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    # "…" stands for what differs from run to run.
    assert re.fullmatch(re.escape(printed).replace("…", ".*"), result.stdout)


@pytest.mark.parametrize(("arguments", "printed"), CLIENT_EXAMPLES, ids=lambda text: text[:60])
def test_an_example_of_the_client_prints_what_the_readme_says(
    server: Server, arguments: str, printed: str, tmp_path: Path
) -> None:
    result = subprocess.run(
        [*CLIENT, *shlex.split(arguments.replace("http://127.0.0.1:9000", server.url))],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=True,
    )
    assert re.fullmatch(re.escape(printed).replace("…", ".*"), result.stdout, re.DOTALL)
