"""What a command of the local AWS can be asked for in vain."""


class UsageError(Exception):
    """What was asked for can't be done; the message is one line that says what to do."""
