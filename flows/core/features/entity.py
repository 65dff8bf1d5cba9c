"""The windows of one entity: all views of it, run step by step."""

from collections.abc import Iterable, Sequence
from itertools import chain

from flows.core.features.batch import ABSENT, EntityKey, Part, Row, Step
from flows.core.features.plan import View
from flows.core.features.windows.sliding import Value, WindowState, windows_of
from flows.core.features.windows.tiles import TileState

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does


class EntityFeatures:
    """The windows of one entity's views; `lateness` (ms) is the plan's, `state` comes from `snapshot`."""

    __slots__ = ("_key", "_states", "_views")

    def __init__(
        self, key: EntityKey, views: Sequence[View], lateness: int, state: bytes | None = None
    ) -> None:
        self._key = key
        self._views = views
        self._states = tuple([state_of(view, lateness) for view in views])
        if state is not None:
            for windows, saved in zip(self._states, _split(state), strict=True):
                windows.restore(saved)

    def run(self, steps: Iterable[Step]) -> Part:
        """Process the steps; return the answers, and a row for each view that got records.

        A row is as of the view's newest record, so that the last row does not depend on batch boundaries.
        """
        states = self._states
        return self._run_one(states[0], steps) if len(states) == 1 else self._run_all(states, steps)

    def _run_one(self, state: TileState | WindowState, steps: Iterable[Step]) -> Part:
        """Run the steps of an entity with one view, the usual case, without the loops of `_run_all`."""
        answers: list[tuple[int, list[Value]]] = []
        late, time, row, changed = 0, 0, ABSENT, False
        for view, time, record_id, values, row in steps:
            if view != ABSENT:
                late += state.add(time, record_id, values) == "late"
                changed = True
            if row != ABSENT:
                answers.append((row, state.ask(time, record_id)))
        rows = [self._row(0, time, None if row == ABSENT else answers[-1][1])] if changed else []
        return _tuple(Part, (self._key[0], answers, rows, late))

    def _run_all(self, states: Sequence[TileState | WindowState], steps: Iterable[Step]) -> Part:
        answers: list[tuple[int, list[Value]]] = []
        late, time = 0, 0
        changed: set[int] = set()
        by_view: list[list[Value]] | None = None  # answers since the last record was added
        for view, time, record_id, values, row in steps:
            if view != ABSENT:
                late += states[view].add(time, record_id, values) == "late"
                changed.add(view)
                by_view = None
            if row != ABSENT:
                by_view = [state.ask(time, record_id) for state in states]
                answers.append((row, [*chain.from_iterable(by_view)]))
        rows = [self._row(view, time, by_view[view] if by_view else None) for view in sorted(changed)]
        return _tuple(Part, (self._key[0], answers, rows, late))

    @property
    def expires(self) -> int:
        """The event time (ms) from which on the entity counts as unseen."""
        return max(state.expires for state in self._states)

    def snapshot(self) -> bytes:
        """Return the state as immutable bytes."""
        parts = [state.snapshot() for state in self._states]
        return b"".join(piece for part in parts for piece in (len(part).to_bytes(4, "little"), part))

    def _row(self, number: int, time: int, answer: list[Value] | None) -> Row:
        """Return a view's row as of its newest record; `answer` is the answer as of `time`, if known."""
        view, state = self._views[number], self._states[number]
        newest = state.newest_record
        known = answer is not None and newest == time and not view.excludes_own
        return _tuple(Row, (view.name, self._key.value, newest, answer if known else state.ask(newest)))


def state_of(view: View, lateness: int) -> TileState | WindowState:
    """Return an empty state of a view for one entity; `lateness` in ms."""
    return TileState(view, lateness) if view.slide else windows_of(view, lateness)()


def _split(state: bytes) -> Iterable[bytes]:
    at = 0
    while at < len(state):
        length = int.from_bytes(state[at : at + 4], "little")
        yield state[at + 4 : at + 4 + length]
        at += 4 + length
