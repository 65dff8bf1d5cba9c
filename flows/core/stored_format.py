"""The formats of stored data. Each names itself and its version, so that another version is refused.

A change that an older version could not read, or that makes older data unreadable, raises the version.
"""

from typing import NamedTuple


class StoredFormat(NamedTuple):
    """A format of stored data, spelled as in "driftline-plan/2"."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"driftline-{self.name}/{self.version}"

    def mismatch(self, found: object) -> str | None:
        """Return how the format that stored data names differs from this one, None if it does not.

        >>> print(PLAN.mismatch("driftline-plan/2"))
        None
        >>> PLAN.mismatch("driftline-plan/3")
        "must be of format driftline-plan/2, got 'driftline-plan/3'"
        >>> PLAN.mismatch(None)
        'must be of format driftline-plan/2, got none (stored before Driftline 0.2.0)'
        """
        if found == str(self):
            return None
        if found is None:
            return f"must be of format {self}, got none (stored before Driftline 0.2.0)"
        return f"must be of format {self}, got {str(found)[:40]!r}"


STATE = StoredFormat("state", 7)  # of a flow: its recovery store and the sealed states in it
MODEL = StoredFormat("model", 2)  # of a message on the models topic and its artifact
PLAN = StoredFormat("plan", 2)
SEED = StoredFormat("seed", 2)
REGISTRY = StoredFormat("registry", 1)  # of an entry on the registry topic
COMMAND = StoredFormat("command", 1)
LINEAGE = StoredFormat("lineage", 1)
BATCH = StoredFormat("batch", 1)  # of an unfinished `driftline score`
