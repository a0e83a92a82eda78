"""Runs one function in a process of its own and measures it from inside.

It is started by `processes.Worker`, with the interpreter and the package that are measured, and imports nothing but
the standard library and the function. It takes commands as lines of JSON and gives one line for each.
"""

import importlib
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO, cast


class Context:
    """What Lambda tells a function about one invocation."""

    function_name = "benchmark"
    function_version = "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:benchmark:live"
    memory_limit_in_mb = 512

    def __init__(self, remaining_ms: int, number: int) -> None:
        self.aws_request_id = f"00000000-0000-4000-8000-{number:012d}"
        self._end = time.monotonic() + remaining_ms / 1000

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may still take."""
        return max(0, int((self._end - time.monotonic()) * 1000))


class _Stopwatch:
    """Measures time by the clock, and the processor's time that this process takes meanwhile."""

    def __init__(self) -> None:
        self._seconds, self._cpu_seconds = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Return both in seconds."""
        seconds, cpu_seconds = time.perf_counter() - self._seconds, time.process_time() - self._cpu_seconds
        return {"seconds": seconds, "cpu_seconds": cpu_seconds}


class Worker:
    """Holds the loaded function.

    Args:
        handler: Module and name of the handler.

    Attributes:
        loaded: What loading it took, in seconds: by the clock, and of the processor.
    """

    def __init__(self, handler: str) -> None:
        module, _, name = handler.rpartition(".")
        stopwatch = _Stopwatch()
        self._handler = getattr(importlib.import_module(module), name)
        self.loaded = stopwatch.read()
        self._count = 0

    def invoke(self, events: list[Any], status: int, remaining_ms: int) -> dict[str, Any]:
        """Invoke the function with each event in turn.

        Args:
            events: The events.
            status: The status code that each answer has to have.
            remaining_ms: The time that each invocation has.

        Returns:
            The seconds of each invocation, the processor time of all, and the last answer.
        """
        seconds = []
        answer: Any = None
        stopwatch = _Stopwatch()
        for event in events:
            self._count += 1
            context = Context(remaining_ms, self._count)
            started = time.perf_counter()
            answer = self._handler(event, context)
            seconds.append(time.perf_counter() - started)
            if answer["statusCode"] != status:
                raise RuntimeError(f"{status} was expected, and the answer is {str(answer)[:500]}")
        return {"seconds": seconds, "cpu_seconds": stopwatch.read()["cpu_seconds"], "answer": answer}

    @staticmethod
    def restore() -> dict[str, Any]:
        """Run the hooks of SnapStart, as the runtime client does, and return what those of a restore take.

        Source: https://github.com/aws/aws-lambda-python-runtime-interface-client, lambda_runtime_hooks_runner.py
        """
        hooks = importlib.import_module("snapshot_restore_py")
        before = hooks.get_before_snapshot()
        while before:
            function, arguments, keywords = before.pop()
            function(*arguments, **keywords)
        stopwatch = _Stopwatch()
        for function, arguments, keywords in hooks.get_after_restore():
            function(*arguments, **keywords)
        return stopwatch.read()

    @staticmethod
    def state() -> dict[str, Any]:
        """Return what the process holds: resident memory in bytes, threads and file descriptors."""
        return {
            "memory": _resident_memory(),
            "threads": threading.active_count(),
            "file_descriptors": len(list(Path("/dev/fd").iterdir())),
        }


def _resident_memory() -> int:
    """Return the resident memory in bytes: of now where /proc tells, else the most that there was."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Unbuffered:
    """A stream that writes at once, as standard output is where Lambda's runtime client runs a function.

    Source: https://github.com/aws/aws-lambda-python-runtime-interface-client, bootstrap.py
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Write a text, and do not wait for more."""
        self._stream.write(text)
        self._stream.flush()


def _separate_results() -> TextIO:
    """Return a stream for results, and let what the function prints go nowhere."""
    results = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = cast("TextIO", _Unbuffered(sys.stdout))
    return results


def main() -> None:
    """Load the function that the first argument names, from the directories that follow it, and serve commands."""
    results = _separate_results()
    sys.path[:0] = sys.argv[2:]
    worker = Worker(sys.argv[1])
    results.write(json.dumps(worker.loaded) + "\n")
    for line in sys.stdin:
        command, arguments = json.loads(line)
        results.write(json.dumps(getattr(worker, command)(**arguments)) + "\n")


if __name__ == "__main__":
    main()
