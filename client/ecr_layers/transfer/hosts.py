"""Names of hosts that are treated in another way than all others."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""This machine's own: no proxy can reach them, and what is sent to them leaves no machine, so it may be plain HTTP."""
