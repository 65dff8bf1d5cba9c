"""The feature engine: a batch of records in, every question's feature vector out.

A batch is split by entity (`split`), each entity runs its own part in order (`EntityFeatures.run`), and the
parts are put together again (`assemble`). The three steps are pure, so a backtest, a backfill and the
dataflow, where each entity is a key of its own, run the same code.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from flows.core.plan import FeaturePlan, View
from flows.core.windows import Value, WindowState

LATENESS = 3 * 3_600_000  # milliseconds: questions this far behind the newest record are still exact


class Update(NamedTuple):
    """A record of a source stream: it changes features and asks nothing."""

    stream: str
    id: str
    time: int
    payload: Mapping[str, Any]


class Question(NamedTuple):
    """An event that asks for a prediction."""

    id: str
    time: int
    payload: Mapping[str, Any]


class EntityKey(NamedTuple):
    """One entity, such as origin JFK."""

    entity: str
    value: str


class _Add(NamedTuple):
    view: int  # among the views of the entity
    time: int
    id: str
    values: tuple[float, ...]


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
    """The windows of one entity: all its views, run step by step."""

    def __init__(self, key: EntityKey, views: Sequence[View], state: bytes | None = None) -> None:
        self._key = key
        self._views = views
        self._windows = [WindowState(view, LATENESS) for view in views]
        if state is not None:
            for window, saved in zip(self._windows, orjson.loads(state), strict=True):
                window.restore(saved)

    def run(self, steps: Iterable[Step]) -> Part:
        """Take the steps in; the answers, and a row for each view that got records, as of the last step."""
        answers: list[tuple[int, list[Value]]] = []
        late = time = 0
        changed: set[int] = set()
        for step in steps:
            time = step.time
            if isinstance(step, _Add):
                late += self._windows[step.view].add(time, step.id, step.values) == "late"
                changed.add(step.view)
            else:
                answers.append((step.row, self._answer(time, step.id)))
        rows = [
            Row(self._views[view].name, self._key.value, time, self._windows[view].ask(time))
            for view in sorted(changed)
        ]
        return Part(self._key.entity, answers, rows, late)

    def snapshot(self) -> bytes:
        """The state to resume from, immutable."""
        return orjson.dumps([window.snapshot() for window in self._windows])

    def _answer(self, time: int, own_id: str) -> list[Value]:
        answer: list[Value] = []
        for view, window in zip(self._views, self._windows, strict=True):
            answer += window.ask(time, own_id if view.excludes_own else None)
        return answer


class Assembler:
    """Puts the answers of all entities together to one feature vector for each question."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._slots: dict[str, list[int]] = {entity: [] for entity in plan.entities}
        self._empty: list[Value] = []
        position = 0
        for view in plan.views:
            for aggregate in view.aggregates:
                self._slots[view.entity].append(position)
                self._empty.append(0 if aggregate.function in ("count", "sum") else None)
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
