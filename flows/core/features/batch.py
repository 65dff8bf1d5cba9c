"""The feature engine: a batch of records in, every question's feature vector out.

A batch is split by entity (`split`), each entity runs its own part in order (`EntityFeatures.run`), and the
parts are put together again (`assemble`). The three steps are pure, so a backtest, a backfill and the
dataflow, where each entity is a key of its own, run the same code.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from flows.core.features.plan import FeaturePlan
from flows.core.features.windows.sliding import Value


class Update(NamedTuple):
    """A record of a source stream: it changes features and asks nothing."""

    stream: str
    id: str
    time: int
    payload: Mapping[str, Any]


class Question(NamedTuple):
    """An event that asks for a prediction.

    `moment` is its time in microseconds, told apart from those of the same millisecond. `read` has, for each
    stream of the plan, the next offset that was still to be read when the question's turn came. An event of
    a feature `stream` is a record of it too, taken in before the question is asked.
    """

    id: str
    time: int
    payload: Mapping[str, Any]
    moment: int = 0
    read: tuple[int, ...] = ()
    stream: str = ""


class EntityKey(NamedTuple):
    """One entity, such as origin JFK."""

    entity: str
    value: str | int

    @property
    def name(self) -> str:
        """The key as one text; it is part of the stored state's format.

        >>> EntityKey("origin", "JFK").name
        'origin=JFK'
        """
        return f"{self.entity}={self.value}"


# What an entity does in a batch; a plain tuple, for there are some for every event. A record to add: the view
# among those of the entity (ABSENT: no record), its time, id and values. Then a question to answer, of the
# same time and id: its row among those of the batch (ABSENT: no question).
Step = tuple[int, int, str, Any, int]
ABSENT = -1

_tuple = tuple.__new__  # makes a named tuple in a third of the time that its class takes


class Row(NamedTuple):
    """The features of one view for one entity as of `time` (ms), for the online and offline stores."""

    view: str
    key: str | int
    time: int
    values: list[Value]


class Part(NamedTuple):
    """What one entity contributes to a batch: answers by question row, and the rows to store."""

    entity: str
    answers: list[tuple[int, list[Value]]]
    rows: list[Row]
    late: int


_Values = Callable[[Mapping[str, Any]], Any]


class _Target(NamedTuple):
    """Where the records of a stream go, or its events: to entities that take the same steps.

    `before` and `last` are the views among those of each entity, with what they read of a payload.
    """

    before: list[tuple[int, _Values]]
    last: tuple[int, _Values]
    entities: list[str]


_NOWHERE: list[_Target] = []


class Splitter:
    """Sorts the records of a batch out by entity, each entity's steps in the order of the batch."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._entities = plan.entities
        self._of_records = {stream: _targets(plan, stream) for stream in plan.streams}
        self._of_events = {stream: _targets(plan, stream, asked=True) for stream in ("", *plan.streams)}

    def split(self, items: Iterable[Update | Question]) -> list[tuple[EntityKey, list[Step]]]:
        """The steps of each entity that the batch touches; an entity whose key is null has none."""
        steps: dict[str, dict[str | int | None, list[Step]]] = {e: defaultdict(list) for e in self._entities}
        of_records, of_events = self._of_records, self._of_events
        questions = 0
        for item in items:
            payload, time, record_id = item.payload, item.time, item.id
            if type(item) is Question:
                targets, row = of_events[item.stream], questions
                questions += 1
            else:
                targets, row = of_records.get(item.stream, _NOWHERE), ABSENT
            for before, (view, values), entities in targets:
                step = (view, time, record_id, values(payload), row)
                for entity in entities:
                    of_value = steps[entity][payload.get(entity)]
                    for earlier, read in before:
                        of_value.append((earlier, time, record_id, read(payload), ABSENT))
                    of_value.append(step)
        return [
            (_tuple(EntityKey, (entity, value)), of_value)
            for entity, by_value in steps.items()
            for value, of_value in by_value.items()
            if value is not None
        ]


def _targets(plan: FeaturePlan, stream: str, *, asked: bool = False) -> list[_Target]:
    """Which entities have views of the stream; all entities, if something is asked."""
    alike: dict[tuple[tuple[int, tuple[str, ...]], ...], list[str]] = defaultdict(list)
    for entity in plan.entities:
        views = enumerate(plan.views_of(entity))
        fed = tuple((index, view.columns) for index, view in views if view.stream == stream)
        if fed or asked:
            alike[fed or ((ABSENT, ()),)].append(entity)
    targets = []
    for fed, entities in alike.items():
        *before, last = ((index, _reader(columns)) for index, columns in fed)
        targets.append(_Target(before, last, entities))
    return targets


def _reader(columns: Sequence[str]) -> _Values:
    """Gives the columns' values as a tuple."""
    if len(columns) == 1:
        (column,) = columns
        return lambda payload: (payload[column],)
    return itemgetter(*columns) if columns else lambda _: ()


class Assembler:
    """Puts the answers of all entities together to the views' part of each question's feature vector."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._empty: list[Value] = [aggregate.empty for view in plan.views for aggregate in view.aggregates]
        # by entity: where its views stand in the vector, and where in the entity's answer
        self._places: dict[str, list[tuple[slice, slice]]] = {entity: [] for entity in plan.entities}
        answered = dict.fromkeys(plan.entities, 0)
        at = 0
        for view in plan.views:
            count, start = len(view.aggregates), answered[view.entity]
            self._places[view.entity].append((slice(at, at + count), slice(start, start + count)))
            answered[view.entity] += count
            at += count

    def assemble(self, questions: int, parts: Iterable[Part]) -> list[list[Value]]:
        """The vectors of the batch's `questions`; an entity without a key answers as one never seen."""
        vectors = [self._empty.copy() for _ in range(questions)]
        for entity, answers, _, _ in parts:
            places = self._places[entity]
            for row, answer in answers:
                if len(places) == 1:
                    vectors[row][places[0][0]] = answer
                else:
                    vector = vectors[row]
                    for place, answered in places:
                        vector[place] = answer[answered]
        return vectors
