"""A batch of events and source records, split by entity, and the answers assembled to feature vectors.

`Splitter` splits a batch by entity, `EntityFeatures.run` processes each entity's steps in order, and
`Assembler` joins the answers. The three steps are pure: a backtest, a backfill and the dataflow, where each
entity is a key, run the same code.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from flows.core.features.plan import FeaturePlan
from flows.core.features.windows.sliding import Value


class Update(NamedTuple):
    """A record of a source stream: it changes features and needs no answer."""

    stream: str
    id: str
    time: int
    payload: Mapping[str, Any]


class Question(NamedTuple):
    """An event that needs a prediction.

    `moment` is its time in microseconds, different from those of other questions. `read` holds, for each
    stream of the plan, the next offset to read when it was this question's turn. If features aggregate the
    events too, `stream` is their topic, and the event is added as a record before it is answered.
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
        """The key as one text; part of the stored state's format.

        >>> EntityKey("origin", "JFK").name
        'origin=JFK'
        """
        return f"{self.entity}={self.value}"


# One step of an entity: (view, time, id, values, row). `view` is the number of the entity's view to which the
# record is added (ABSENT: none), `row` the number of the question to answer afterwards (ABSENT: none). It is
# a plain tuple, because every event makes several.
Step = tuple[int, int, str, Any, int]
ABSENT = -1

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does


class Row(NamedTuple):
    """The features of one view for one entity as of `time` (ms), for the online and offline stores."""

    view: str
    key: str | int
    time: int
    values: list[Value]


class Part(NamedTuple):
    """The results of one entity for a batch: answers by question row, rows to store, and late records."""

    entity: str
    answers: list[tuple[int, list[Value]]]
    rows: list[Row]
    late: int


_Values = Callable[[Mapping[str, Any]], Any]


class _Target(NamedTuple):
    """The entities that take the same steps for a record or event of one stream.

    `before` and `last` are view numbers, each with a function that reads the view's columns from a payload.
    """

    before: list[tuple[int, _Values]]
    last: tuple[int, _Values]
    entities: list[str]


_NOWHERE: list[_Target] = []
_FedViews = tuple[tuple[int, tuple[str, ...]], ...]  # a view's number among those of the entity, its columns
_NO_VIEWS: _FedViews = ((ABSENT, ()),)


class Splitter:
    """Splits the records of a batch by entity, and keeps their order."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._entities = plan.entities
        self._of_records = {stream: _record_targets(plan, stream) for stream in plan.streams}
        self._of_events = {stream: _question_targets(plan, stream) for stream in ("", *plan.streams)}

    def split(self, items: Iterable[Update | Question]) -> list[tuple[EntityKey, list[Step]]]:
        """Return the steps of each entity in the batch; an entity whose key is null has none."""
        steps: dict[str, dict[str | int | None, list[Step]]] = {e: defaultdict(list) for e in self._entities}
        if not steps:
            return []
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


def _record_targets(plan: FeaturePlan, stream: str) -> list[_Target]:
    """Return the entities that have views of `stream`."""
    fed = {entity: _fed_views(plan, entity, stream) for entity in plan.entities}
    return _grouped({entity: views for entity, views in fed.items() if views})


def _question_targets(plan: FeaturePlan, stream: str) -> list[_Target]:
    """Return all entities, since each of them answers; `stream` is empty if no view aggregates the events."""
    return _grouped({entity: _fed_views(plan, entity, stream) or _NO_VIEWS for entity in plan.entities})


def _fed_views(plan: FeaturePlan, entity: str, stream: str) -> _FedViews:
    views = enumerate(plan.views_of(entity))
    return tuple((index, view.columns) for index, view in views if view.stream == stream)


def _grouped(views_of: Mapping[str, _FedViews]) -> list[_Target]:
    """Group the entities that take the same steps."""
    alike: dict[_FedViews, list[str]] = defaultdict(list)
    for entity, views in views_of.items():
        alike[views].append(entity)
    targets = []
    for views, entities in alike.items():
        *before, last = ((index, _reader(columns)) for index, columns in views)
        targets.append(_Target(before, last, entities))
    return targets


def _reader(columns: Sequence[str]) -> _Values:
    """Return a function that reads the columns' values as a tuple."""
    if len(columns) == 1:
        (column,) = columns
        return lambda payload: (payload[column],)
    return itemgetter(*columns) if columns else lambda _: ()


class Assembler:
    """Assembles the entities' answers to the views' part of each question's feature vector."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._empty: list[Value] = [aggregate.empty for view in plan.views for aggregate in view.aggregates]
        # by entity: the slices of its views in the vector and in the entity's answer
        self._places: dict[str, list[tuple[slice, slice]]] = {entity: [] for entity in plan.entities}
        answered = dict.fromkeys(plan.entities, 0)
        at = 0
        for view in plan.views:
            count, start = len(view.aggregates), answered[view.entity]
            self._places[view.entity].append((slice(at, at + count), slice(start, start + count)))
            answered[view.entity] += count
            at += count

    def assemble(self, questions: int, parts: Iterable[Part]) -> list[list[Value]]:
        """Return the vectors of the batch's `questions`; an entity without a key counts as unseen."""
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
