"""What tells a flow, or its supervisor, to end."""


class Drain:
    """Set once, by a signal's handler or by the flow itself; asked by whoever goes on until then.

    It is no `threading.Event`: setting or awaiting one takes its lock. A handler that sets it runs in the
    main thread, between any two steps of what that does, and if they held the lock it would wait for itself.

    >>> drain = Drain()
    >>> drain.set()
    >>> drain.is_set()
    True
    """

    def __init__(self) -> None:
        self._told = False

    def set(self) -> None:
        """Tell it."""
        self._told = True

    def clear(self) -> None:
        """Take it back, for another run in the same process."""
        self._told = False

    def is_set(self) -> bool:
        """Whether it was told."""
        return self._told
