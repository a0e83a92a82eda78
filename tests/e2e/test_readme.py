"""What the README shows is what happens."""

import re
import subprocess

import pytest

from tests.commands import ROOT, Server, tool

README = (ROOT / "README.md").read_text()
# The example of docs/clients.md writes a file, and prints nothing.
DOCUMENTS = README + (ROOT / "docs" / "registry.md").read_text()
EXAMPLES = re.findall(r"^\$ (curl [^\n]*127\.0\.0\.1:9000[^\n]*)\n([^$`\n]+)$", DOCUMENTS, re.MULTILINE)


def test_the_documents_have_examples() -> None:
    assert len(EXAMPLES) == len(re.findall(r"^\$ curl .*127\.0\.0\.1", DOCUMENTS, re.MULTILINE)) >= 9


@pytest.mark.parametrize(("command", "printed"), EXAMPLES, ids=lambda text: text[:60])
def test_a_curl_example_prints_what_the_readme_says(server: Server, command: str, printed: str) -> None:
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
