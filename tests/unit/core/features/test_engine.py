"""The feature engine's three steps, compared with a full recomputation, over several entities."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.core.features.batch import (
    Assembler,
    EntityKey,
    Part,
    Question,
    Row,
    Splitter,
    Update,
)
from flows.core.features.entity import EntityFeatures
from flows.core.features.plan import Aggregate, FeaturePlan, View
from flows.core.features.windows.sliding import Value

AGGREGATES = (
    Aggregate("count_9", "count", "delay", 9),
    Aggregate("mean_9", "mean", "delay", 9),
    Aggregate("max_30", "max", "delay", 30),
    Aggregate("sum_30", "sum", "fare", 30),
)
PLAN = FeaturePlan(
    "service",
    (
        View("origin_departures", "origin", "departures", AGGREGATES, excludes_own=True),
        View("aircraft_departures", "tail_number", "departures", AGGREGATES[:2], excludes_own=True),
        View("origin_arrivals", "origin", "arrivals", AGGREGATES[1:]),
        View("aircraft_arrivals", "tail_number", "arrivals", AGGREGATES),
    ),
)
ONE_VIEW_EACH = FeaturePlan("service", PLAN.views[1:3])
EMPTY = [0 if a.function in ("count", "sum") else None for view in PLAN.views for a in view.aggregates]

Item = Update | Question


class Engine:
    """The three steps, as a flow runs them: a state of each entity, kept between batches."""

    def __init__(self, plan: FeaturePlan = PLAN) -> None:
        self.plan = plan
        self.entities: dict[EntityKey, EntityFeatures] = {}
        self.parts: list[Part] = []

    def run(self, batch: list[Item]) -> list[list[Value]]:
        self.parts = [self.entity(key).run(steps) for key, steps in Splitter(self.plan).split(batch)]
        questions = sum(isinstance(item, Question) for item in batch)
        return Assembler(self.plan).assemble(questions, self.parts)

    def entity(self, key: EntityKey) -> EntityFeatures:
        return self.entities.setdefault(key, EntityFeatures(key, self.plan.views_of(key.entity), 1_000))

    def resume(self) -> None:
        """Resume from the state that a recovery store would have."""
        self.entities = {
            key: EntityFeatures(key, self.plan.views_of(key.entity), 1_000, entity.snapshot())
            for key, entity in self.entities.items()
        }


def recompute(log: list[Item], plan: FeaturePlan) -> list[list[Value]]:
    """Return the vector of every event, from all records before it in the log and itself."""
    return [
        [value for view in plan.views for value in answer(view, item, log[: position + 1])]
        for position, item in enumerate(log)
        if isinstance(item, Question)
    ]


def recompute_rows(log: list[Item], start: int, plan: FeaturePlan) -> list[Row]:
    """The row of each view and key that the records from `start` on touch."""
    rows = []
    for view in plan.views:
        for key in {update.payload[view.entity] for update in updates_of(view.stream, log[start:])} - {None}:
            alike = [u for u in updates_of(view.stream, log) if u.payload[view.entity] == key]
            newest = max(update.time for update in alike)
            as_of = Question("", newest, {view.entity: key})
            rows.append(Row(view.name, key, newest, answer(view, as_of, log)))
    return sorted(rows)


def answer(view: View, question: Question, log: list[Item]) -> list[Value]:
    updates = updates_of(view.stream, log)
    return [aggregate(view, a, question, updates) for a in view.aggregates]


def updates_of(stream: str, log: list[Item]) -> list[Update]:
    """The records of the stream; an event may be one."""
    return [Update(stream, item.id, item.time, item.payload) for item in log if item.stream == stream]


def aggregate(view: View, a: Aggregate, question: Question, updates: list[Update]) -> Value:
    key = question.payload[view.entity]
    values = [
        update.payload[a.column]
        for update in {(update.stream, update.id): update for update in updates}.values()
        if key is not None
        and update.payload[view.entity] == key
        and question.time - a.window < update.time <= question.time
        and not (view.excludes_own and update.id == question.id)
    ]
    if a.function in ("count", "sum"):
        return len(values) if a.function == "count" else sum(values)
    return (max(values) if a.function == "max" else sum(values) / len(values)) if values else None


class Draw(NamedTuple):
    kind: str
    ahead: int
    flight: int
    origin: str
    tail: str | None
    delay: int
    fare: int


DRAWS = st.lists(
    st.builds(
        Draw,
        st.sampled_from(["departures", "arrivals", "event", "question", "question"]),
        st.integers(0, 8),
        st.integers(0, 12),
        st.sampled_from(["EWR", "JFK"]),
        st.sampled_from(["N1", "N2", None]),
        st.integers(-20, 90),
        st.integers(1, 500),
    ),
    max_size=40,
    unique_by=lambda draw: (draw.kind, draw.flight),
)


def log_of(draws: list[Draw]) -> list[Item]:
    log: list[Item] = []
    time = 1_000
    for draw in draws:
        time += draw.ahead
        keys = {"origin": draw.origin, "tail_number": draw.tail}
        payload = {**keys, "delay": draw.delay, "fare": draw.fare}
        if draw.kind == "question":
            log.append(Question(f"f{draw.flight}", time, keys))
        elif draw.kind == "event":
            log.append(Question(f"e{draw.flight}", time, payload, stream="departures"))
        else:
            log.append(Update(draw.kind, f"f{draw.flight}", time, payload))
    return log


@pytest.mark.parametrize("plan", [PLAN, ONE_VIEW_EACH], ids=["several views", "one view"])
@settings(max_examples=200, deadline=None)
@given(draws=DRAWS, size=st.integers(1, 8))
def test_every_vector_and_row_equals_a_full_recomputation_whatever_the_batches(
    plan: FeaturePlan, draws: list[Draw], size: int
) -> None:
    engine, log = Engine(plan), log_of(draws)
    vectors: list[list[Value]] = []
    for start in range(0, len(log), size):
        vectors += engine.run(log[start : start + size])
        rows = sorted(row for part in engine.parts for row in part.rows)
        assert rows == recompute_rows(log[: start + size], start, plan)
        engine.resume()
    assert vectors == recompute(log, plan)


@settings(max_examples=100, deadline=None)
@given(DRAWS, st.integers(0, 40))
def test_records_delivered_twice_change_no_vector(draws: list[Draw], start: int) -> None:
    log = log_of(draws)
    again = [item for item in log[start:] if isinstance(item, Update)]
    once, twice = Engine(), Engine()
    once.run(log)
    twice.run(log + again)
    late = log[-1].time if log else 0
    questions: list[Item] = [
        Question("new", late, {"origin": o, "tail_number": "N1"}) for o in ("EWR", "JFK")
    ]
    assert twice.run(questions) == once.run(questions)


def test_an_entity_without_a_key_answers_as_one_never_seen_and_learns_nothing() -> None:
    engine = Engine()
    engine.run([Update("departures", "f1", 5, {"origin": "EWR", "tail_number": None, "delay": 9, "fare": 1})])
    assert {key.entity for key in engine.entities} == {"origin"}
    null, unseen = engine.run(
        [
            Question("f2", 6, {"origin": "EWR", "tail_number": None}),
            Question("f3", 6, {"origin": "EWR", "tail_number": "never seen"}),
        ]
    )
    assert null == unseen
    assert null[:4] == [1, 9, 9, 1]
    assert null[4:6] == [0, None]


def test_a_question_that_lacks_every_key_still_gets_its_vector() -> None:
    assert Engine().run([Question("f1", 5, {})]) == [EMPTY]


def test_a_stream_that_no_view_reads_touches_nothing() -> None:
    engine = Engine()
    assert engine.run([Update("weather", "w1", 5, {"origin": "EWR"})]) == []
    assert engine.entities == {}


@pytest.mark.parametrize(("excludes_own", "count"), [(True, 0), (False, 1)])
def test_only_a_view_that_excludes_own_leaves_the_events_own_record_out(
    excludes_own: bool, count: int
) -> None:
    view = View("v", "origin", "departures", AGGREGATES[:1], excludes_own)
    own = Update("departures", "f1", 5, {"origin": "EWR", "delay": -3})
    question = Question("f1", 6, {"origin": "EWR"})
    assert Engine(FeaturePlan("service", (view,))).run([own, question]) == [[count]]


def test_the_rows_to_store_are_the_features_of_each_view_that_got_records_as_of_its_newest_record() -> None:
    engine = Engine()
    payload = {"origin": "EWR", "tail_number": "N1", "delay": 9, "fare": 2}
    engine.run([Update("departures", "f1", 5, payload), Question("f1", 7, {"origin": "EWR"})])
    assert [row for part in engine.parts for row in part.rows] == [
        Row("origin_departures", "EWR", 5, [1, 9, 9, 2]),
        Row("aircraft_departures", "N1", 5, [1, 9]),
    ]


def test_late_records_are_counted() -> None:
    payload = {"origin": "EWR", "tail_number": None, "delay": 9, "fare": 2}
    engine = Engine()
    engine.run(
        [
            Update("departures", "f1", 100_000_000, payload),
            Update("departures", "f1", 100_000_000, payload),
            Update("departures", "f2", 1, payload),
        ]
    )
    assert [part.late for part in engine.parts] == [1]
