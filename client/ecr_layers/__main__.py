"""Runs the command line: `python -m ecr_layers`."""

import sys

from ecr_layers.cli import main

if __name__ == "__main__":
    sys.exit(main())
