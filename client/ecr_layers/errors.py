"""What goes wrong in a way that a user can mend."""


class ClientError(Exception):
    """A command can't do what it was asked for; the message is one line that says what to do."""


class UsageError(ClientError):
    """What was asked for can't be asked for: an argument, a setting or a missing credential."""
