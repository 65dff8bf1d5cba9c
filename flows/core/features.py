"""The feature engine: a batch of records in, every question's feature vector out.

A batch is split by entity (`split`), each entity runs its own part in order (`EntityFeatures.run`), and the
parts are put together again (`assemble`). The three steps are pure, so a backtest, a backfill and the
dataflow, where each entity is a key of its own, run the same code.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flows.core.plan import FeaturePlan, View
from flows.core.tiles import TileState
from flows.core.windows import Value, WindowState


class Update(NamedTuple):
    """A record of a source stream: it changes features and asks nothing."""

    stream: str
    id: str
    time: int
    payload: Mapping[str, Any]


class Question(NamedTuple):
    """An event that asks for a prediction.

    `moment` is its time in microseconds, told apart from those of the same millisecond. `read` has, for each
    stream of the plan, the next offset that was still to be read when the question's turn came.
    """

    id: str
    time: int
    payload: Mapping[str, Any]
    moment: int = 0
    read: tuple[int, ...] = ()


class EntityKey(NamedTuple):
    """One entity, such as origin JFK."""

    entity: str
    value: str

    @property
    def name(self) -> str:
        """The key as one text; it is part of the stored state's format.

        >>> EntityKey("origin", "JFK").name
        'origin=JFK'
        """
        return f"{self.entity}={self.value}"


class _Add(NamedTuple):
    view: int  # among the views of the entity
    time: int
    id: str
    values: tuple[Any, ...]


class _Ask(NamedTuple):
    row: int  # among the questions of the batch
    time: int
    id: str


Step = _Add | _Ask


class Row(NamedTuple):
    """The features of one view for one entity as of `time` (ms), for the online and offline stores."""

    view: str
    key: str
    time: int
    values: list[Value]


class Part(NamedTuple):
    """What one entity contributes to a batch: answers by question row, and the rows to store."""

    entity: str
    answers: list[tuple[int, list[Value]]]
    rows: list[Row]
    late: int


class Splitter:
    """Sorts the records of a batch out by entity, each entity's steps in the order of the batch."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._entities = plan.entities
        # by stream: a view's index and columns, and the entities whose view that is; they share the step
        self._targets: dict[str, dict[tuple[int, tuple[str, ...]], list[str]]] = {}
        for entity in plan.entities:
            for index, view in enumerate(plan.views_of(entity)):
                of_stream = self._targets.setdefault(view.stream, {})
                of_stream.setdefault((index, view.columns), []).append(entity)

    def split(self, items: Iterable[Update | Question]) -> dict[EntityKey, list[Step]]:
        """The steps of each entity that the batch touches; an entity whose key is null has none."""
        steps: dict[str, dict[str | None, list[Step]]] = {e: defaultdict(list) for e in self._entities}
        row = 0
        for item in items:
            payload = item.payload
            if isinstance(item, Question):
                ask = _Ask(row, item.time, item.id)
                for entity in self._entities:
                    steps[entity][payload.get(entity)].append(ask)
                row += 1
                continue
            for (index, columns), entities in self._targets.get(item.stream, _NONE).items():
                add = _Add(index, item.time, item.id, tuple([payload[column] for column in columns]))
                for entity in entities:
                    steps[entity][payload.get(entity)].append(add)
        return {
            EntityKey(entity, value): of_value
            for entity, by_value in steps.items()
            for value, of_value in by_value.items()
            if value is not None
        }


_NONE: dict[tuple[int, tuple[str, ...]], list[str]] = {}


class EntityFeatures:
    """The windows of one entity: all its views, run step by step.

    `lateness` (ms) is the plan's; `state` is what `snapshot` gave.
    """

    __slots__ = ("_key", "_states", "_views")

    def __init__(
        self, key: EntityKey, views: Sequence[View], lateness: int, state: bytes | None = None
    ) -> None:
        self._key = key
        self._views = views
        self._states = [(TileState if view.slide else WindowState)(view, lateness) for view in views]
        if state is not None:
            for windows, saved in zip(self._states, _split(state), strict=True):
                windows.restore(saved)

    def run(self, steps: Iterable[Step]) -> Part:
        """Take the steps in; the answers, and a row for each view that got records.

        A row is as of the view's newest record, so that the last one does not depend on how the records were
        cut into batches.
        """
        answers: list[tuple[int, list[Value]]] = []
        late = 0
        states, changed = self._states, set()
        for step in steps:
            if isinstance(step, _Add):
                outcome = states[step.view].add(step.time, step.id, step.values)
                late += outcome == "late"
                changed.add(step.view)
            else:
                answer: list[Value] = []
                for state in states:
                    answer += state.ask(step.time, step.id)
                answers.append((step.row, answer))
        return Part(self._key.entity, answers, [self._row(view) for view in sorted(changed)], late)

    @property
    def expires(self) -> int:
        """The event time (ms) from which on the entity is as one never seen."""
        return max(state.expires for state in self._states)

    def snapshot(self) -> bytes:
        """The state to resume from, immutable."""
        parts = [state.snapshot() for state in self._states]
        return b"".join(piece for part in parts for piece in (len(part).to_bytes(4, "little"), part))

    def _row(self, view: int) -> Row:
        state = self._states[view]
        time = state.newest_record
        return Row(self._views[view].name, self._key.value, time, state.ask(time))


def _split(state: bytes) -> Iterable[bytes]:
    at = 0
    while at < len(state):
        length = int.from_bytes(state[at : at + 4], "little")
        yield state[at + 4 : at + 4 + length]
        at += 4 + length


class Assembler:
    """Puts the answers of all entities together to the views' part of each question's feature vector."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._slots: dict[str, list[int]] = {entity: [] for entity in plan.entities}
        self._empty: list[Value] = []
        position = 0
        for view in plan.views:
            for aggregate in view.aggregates:
                self._slots[view.entity].append(position)
                self._empty.append(aggregate.empty)
                position += 1

    def assemble(self, questions: int, parts: Iterable[Part]) -> list[list[Value]]:
        """The vectors of the batch's `questions`; an entity without a key answers as one never seen."""
        vectors = [self._empty.copy() for _ in range(questions)]
        for part in parts:
            slots = self._slots[part.entity]
            for row, answer in part.answers:
                vector = vectors[row]
                for slot, value in zip(slots, answer, strict=True):
                    vector[slot] = value
        return vectors
