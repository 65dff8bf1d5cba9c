"""The request to stop a flow or its supervisor."""


class Drain:
    """A flag set once, by a signal handler or by the flow itself, and polled by the loops that must stop.

    Not a `threading.Event`, whose methods take a lock. Signal handlers run in the main thread; if it already
    held the lock, the handler would deadlock.

    >>> drain = Drain()
    >>> drain.set()
    >>> drain.is_set()
    True
    """

    def __init__(self) -> None:
        self._requested = False

    def set(self) -> None:
        """Request a drain."""
        self._requested = True

    def clear(self) -> None:
        """Withdraw the request, for another run in the same process."""
        self._requested = False

    def is_set(self) -> bool:
        """Return whether a drain was requested."""
        return self._requested
