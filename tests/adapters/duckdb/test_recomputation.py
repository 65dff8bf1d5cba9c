"""The recomputation in SQL agrees with the engine, and finds every changed value."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from window_views import LATENESS, VIEWS

from flows.adapters.duckdb.recomputation import Recomputation, ServedFeatures, StreamRecord
from flows.core.features.batch import Assembler, EntityKey, Question, Splitter, Update
from flows.core.features.entity import EntityFeatures
from flows.core.features.plan import COUNTS, Aggregate, FeaturePlan, View


def typed(aggregate: Aggregate) -> Aggregate:
    if aggregate.function in COUNTS:
        return replace(aggregate, dtype="int")
    is_text = aggregate.column == "city" and aggregate.function in ("first", "last")
    return replace(aggregate, dtype="string" if is_text else "float")


def with_types(view: View) -> View:
    return replace(view, aggregates=tuple(typed(a) for a in view.aggregates))


PLAN = FeaturePlan("s", tuple(with_types(view) for view in VIEWS), lateness=LATENESS)
VIEW = PLAN.views[0]
KEYS = ("JFK", "LGA", None)


class Log:
    """A stream and questions on it, as the engine answers them one after the other."""

    def __init__(self, plan: FeaturePlan = PLAN) -> None:
        self.plan = plan
        self.records: list[StreamRecord] = []
        self.served: list[ServedFeatures] = []
        self._splitter, self._assembler = Splitter(plan), Assembler(plan)
        self._entities: dict[EntityKey, EntityFeatures] = {}

    def add(self, record_id: str, time: int, key: str | None, delay: float, fare: float, city: str) -> None:
        payload = {"origin": key, "delay": delay, "fare": fare, "city": city}
        self.records.append(StreamRecord(0, len(self.records), record_id, time, payload))
        self._run(Update("departures", record_id, time, payload))

    def ask(self, question_id: str, time: int, key: str | None) -> None:
        parts = self._run(Question(question_id, time, {"origin": key}))
        (features,) = self._assembler.assemble(1, parts)
        read = [len(self.records)]
        self.served.append(ServedFeatures(question_id, time, time * 1000 + 1, 0, [key], read, features))

    def change(self, question: int, feature: str, value: object) -> None:
        features = list(self.served[question].features)
        features[self.plan.names.index(feature)] = value
        self.served[question] = self.served[question]._replace(features=features)

    @contextmanager
    def recomputed(self, folder: Path) -> Iterator[Recomputation]:
        with closing(Recomputation(folder, self.plan, {"departures": {"city", "origin"}})) as recomputation:
            recomputation.add_records("departures", self.records)
            recomputation.add_questions(self.served)
            recomputation.prepare()
            yield recomputation

    def _run(self, item: Update | Question) -> list:
        steps = self._splitter.split([item])
        return [self._entity(key).run(of_key) for key, of_key in steps]

    def _entity(self, key: EntityKey) -> EntityFeatures:
        if key not in self._entities:
            self._entities[key] = EntityFeatures(key, self.plan.views, self.plan.lateness)
        return self._entities[key]


def traffic(seed: int, out_of_order: int, plan: FeaturePlan = PLAN) -> Log:
    """Some hundred records and questions, many at the same time, most questions by the id of a record."""
    random, log, now = Random(seed), Log(plan), 10_000
    for number in range(400):
        now += random.choice((0, 0, 1, 3, 9))
        time = now - random.randint(0, out_of_order)
        key = random.choice(KEYS)
        if random.random() < 0.5:
            log.ask(f"r{number + random.randint(-3, 1)}", time, key)
        else:
            number_of = random.choice((0.1, -2.7, 1e-9, 123456.789, float(random.randint(-50, 50))))
            log.add(f"r{number}", time, key, number_of, random.random(), random.choice(("Rome", "Oslo")))
    return log


@pytest.mark.parametrize("view", PLAN.views, ids=lambda view: view.name)
def test_in_order_every_feature_of_every_question_is_equal(tmp_path, view):
    log = traffic(3, out_of_order=0)
    with log.recomputed(tmp_path) as recomputation:
        (verdict,) = recomputation.compare(view)
        assert verdict.questions == len(log.served)
        assert verdict.mismatches == []
        last = {record.time: record.offset for record in log.records}
        for question in verdict.explained:  # only a record of the same moment can have come later
            asked = log.served[question]
            later = recomputation.later_records(view, question)
            assert later
            assert all(offset >= asked.read[0] for _, offset, _ in later)
            assert all(time <= asked.time and last[time] >= asked.read[0] for _, _, time in later)


@pytest.mark.parametrize("view", PLAN.views, ids=lambda view: view.name)
def test_out_of_order_what_differs_is_explained_by_a_record_that_came_later(tmp_path, view):
    log = traffic(3, out_of_order=LATENESS - 1)
    with log.recomputed(tmp_path) as recomputation:
        (verdict,) = recomputation.compare(view)
        assert verdict.mismatches == []
        assert verdict.explained
        for question in verdict.explained:
            asked = log.served[question]
            for record_id, offset, time in recomputation.later_records(view, question):
                assert log.records[offset][1:4] == (offset, record_id, time)
                assert offset >= asked.read[0]


@pytest.mark.parametrize("aggregate", [a for a in VIEW.aggregates if a.window == 20], ids=lambda a: a.name)
def test_a_wrong_value_of_any_feature_is_a_mismatch(tmp_path, aggregate):
    view = replace(VIEW, aggregates=(aggregate,))
    log = traffic(7, out_of_order=0, plan=FeaturePlan("s", (view,), lateness=LATENESS))
    served = [n for n, s in enumerate(log.served) if s.features[0] is not None]
    with log.recomputed(tmp_path) as recomputation:
        (before,) = recomputation.compare(view)
    question = next(n for n in reversed(served) if n not in before.explained)
    right = log.served[question].features[0]
    log.change(
        question, f"{view.name}__{aggregate.name}", "Ghent" if isinstance(right, str) else 2 * right + 1
    )
    (tmp_path / "recomputation.db").unlink()
    with log.recomputed(tmp_path) as recomputation:
        (verdict,) = recomputation.compare(view)
        assert verdict.mismatches == [question]
        assert recomputation.difference(view, question)[1] == [pytest.approx(right)]


def test_a_record_that_the_engine_missed_is_a_mismatch_though_another_came_later(tmp_path):
    log = Log()
    for number in range(3):
        log.add(f"r{number}", 10_000 + number, "JFK", 5.0, 1.0, "Rome")
    log.ask("q", 10_010, "JFK")
    log.add("late", 10_009, "JFK", 5.0, 1.0, "Rome")
    log.change(0, f"{VIEW.name}__count_60", 2)
    with log.recomputed(tmp_path) as recomputation:
        (verdict,) = recomputation.compare(VIEW)
        assert (verdict.explained, verdict.mismatches) == ([], [0])


def test_sums_are_exact_also_where_floats_are_not(tmp_path):
    view = View(
        "v",
        "origin",
        "departures",
        (Aggregate("sum", "sum", "delay", 100), Aggregate("m", "mean", "delay", 100)),
    )
    log = Log(FeaturePlan("s", (view,)))
    for number, value in enumerate((0.1, 1e9, 0.2, -1e9, 0.3)):
        log.add(f"r{number}", 10_000 + number, "JFK", value, 0.0, "Rome")
    log.ask("q", 10_010, "JFK")
    assert log.served[0].features[0] == 0.6
    with log.recomputed(tmp_path) as recomputation:
        assert recomputation.difference(view, 0)[1] == log.served[0].features
        (verdict,) = recomputation.compare(view)
        assert verdict == (1, [], [])
    log.change(0, "v__sum", 0.6000000000000001)
    (tmp_path / "recomputation.db").unlink()
    with log.recomputed(tmp_path) as recomputation:
        (verdict,) = recomputation.compare(view)
        assert verdict.mismatches == [0]


def test_values_too_far_apart_for_whole_units_are_summed_in_floats(tmp_path):
    view = View("v", "origin", "departures", (Aggregate("sum", "sum", "delay", 100),))
    log = Log(FeaturePlan("s", (view,)))
    log.add("r0", 10_000, "JFK", 1e-30, 0.0, "Rome")
    log.add("r1", 10_001, "JFK", 1e30, 0.0, "Rome")
    log.ask("q", 10_010, "JFK")
    with log.recomputed(tmp_path) as recomputation:
        (verdict,) = recomputation.compare(view)
        assert verdict == (1, [], [])
