"""The command line, `ecr-layers`. Only this package knows commands, options and exit statuses."""

from ecr_layers.cli.app import COMMANDS, main, run

__all__ = ["COMMANDS", "main", "run"]
