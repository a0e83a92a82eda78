"""Runs one function in a process of its own, and measures it from inside.

`processes.Worker` starts it with the measured interpreter and package. It imports the standard library and the function
alone. It reads commands as lines of JSON, and answers each with one line.
"""

import gc
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

# As deployed by default.
_TIME_LIMIT_SECONDS = 15


class Context:
    """Lambda's context of one invocation."""

    function_name = "benchmark"
    function_version = "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:benchmark:live"
    memory_limit_in_mb = 512

    def __init__(self, number: int) -> None:
        self.aws_request_id = f"00000000-0000-4000-8000-{number:012d}"
        self._end = time.monotonic() + _TIME_LIMIT_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left."""
        return max(0, int((self._end - time.monotonic()) * 1000))


class Worker:
    """Holds the loaded function."""

    def __init__(self, handler: str) -> None:
        module, _, name = handler.rpartition(".")
        started = time.process_time()
        self._handler = getattr(importlib.import_module(module), name)
        self.load_ms = _cpu_ms_since(started)
        self._count = 0

    def invoke(self, events: list[Any], status: int, urls: int) -> dict[str, Any]:
        """Invoke the function with each event in turn; see `processes.Worker.invoke`.

        Raises:
            RuntimeError: If an answer has another status or another number of URLs.
        """
        milliseconds = []
        started_all = time.process_time()
        for event in events:
            self._count += 1
            context = Context(self._count)
            started = time.perf_counter()
            answer = self._handler(event, context)
            milliseconds.append((time.perf_counter() - started) * 1000)
            found = answer.get("body", "").count('"downloadUrl":')
            if answer["statusCode"] != status or found != urls:
                raise RuntimeError(f"Expected {status} with {urls} URLs, not {found} in {str(answer)[:500]}")
        return {"ms": milliseconds, "cpu_ms": _cpu_ms_since(started_all)}

    @staticmethod
    def restore() -> float:
        """Run SnapStart's hooks as the runtime client does; see `processes.Worker.restore_ms`.

        Source: https://github.com/aws/aws-lambda-python-runtime-interface-client, lambda_runtime_hooks_runner.py
        """
        hooks = importlib.import_module("snapshot_restore_py")
        before = hooks.get_before_snapshot()
        while before:
            function, arguments, keywords = before.pop()
            function(*arguments, **keywords)
        started = time.process_time()
        for function, arguments, keywords in hooks.get_after_restore():
            function(*arguments, **keywords)
        return _cpu_ms_since(started)

    @staticmethod
    def memory() -> int:
        """Return resident memory in bytes; without /proc its peak."""
        gc.collect()
        try:
            return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        except FileNotFoundError:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _cpu_ms_since(started: float) -> float:
    return (time.process_time() - started) * 1000


def main() -> None:
    """Load the handler in the first argument from the directories in the others, and serve commands."""
    sys.path[:0] = sys.argv[2:]
    # The function's lines go nowhere, but each at once, as with Lambda's runtime client.
    with Path(os.devnull).open("w", buffering=1) as nowhere:
        results, sys.stdout = sys.stdout, nowhere
        worker = Worker(sys.argv[1])
        print(json.dumps(worker.load_ms), file=results, flush=True)
        for line in sys.stdin:
            command, arguments = json.loads(line)
            print(json.dumps(getattr(worker, command)(**arguments)), file=results, flush=True)


if __name__ == "__main__":
    main()
