"""Runs a command and prints what it took, as JSON: `python launcher.py COMMAND …`.

In a process of its own, because a process begins with the peak memory of the one that it was forked from, and this one
is small.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run it; its standard output goes nowhere."""
    command = sys.argv[1:]
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execvp(command[0], command)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - started
    processor = usage.ru_utime + usage.ru_stime
    peak = usage.ru_maxrss * 1024
    print(json.dumps({"status": status, "seconds": seconds, "processor_seconds": processor, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
