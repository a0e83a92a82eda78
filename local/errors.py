"""Errors of the commands of the local AWS."""


class UsageError(Exception):
    """A request can't be fulfilled; the message is one line that says what to do."""
