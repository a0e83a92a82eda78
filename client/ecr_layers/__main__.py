"""Runs the command line: `python -m ecr_layers`."""

from ecr_layers.cli import run

if __name__ == "__main__":
    run()
