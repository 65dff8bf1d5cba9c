"""Nothing known only after a flight's scheduled departure reaches its prediction; the effect of a leak."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pandas as pd
import pytest
from places import SHIPPED
from scipy.stats import rankdata

from flows.adapters.feast.compiler import compile_plan
from flows.adapters.feast.repo import apply
from flows.core.features.batch import Assembler, EntityKey, Question, Splitter, Update
from flows.core.features.entity import EntityFeatures
from flows.core.features.plan import LATENESS, FeaturePlan
from flows.core.features.windows.sliding import Value
from flows.core.stream.broker import Outgoing
from flows.pipelines.dataset import TableDataset
from flows.pipelines.flight_delays import pipeline
from flows.pipelines.flights_data import dataset, events, read_csv, schedule

FUTURE = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
BATCH = 2_000


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> FeaturePlan:
    """Return the plan of the shipped feature repository."""
    repo = tmp_path_factory.mktemp("project") / "feature_repo"
    shutil.copytree(SHIPPED, repo, ignore=shutil.ignore_patterns("__pycache__"))
    apply(repo, "feature_store.yaml")
    return compile_plan(repo, "feature_store.yaml", pipeline.service, LATENESS)


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    return read_csv("flights.csv.zip")


@pytest.fixture(scope="module")
def airports() -> pd.DataFrame:
    return read_csv("airports.csv")


@pytest.fixture(scope="module")
def flights(raw: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    return schedule(raw, airports)


def including_own(plan: FeaturePlan) -> FeaturePlan:
    return replace(plan, views=tuple(replace(view, excludes_own=False) for view in plan.views))


def item(record: Outgoing) -> Update | Question:
    payload = orjson.loads(record.value)
    if record.topic == "flights":
        return Question(payload["flight_id"], record.timestamp, payload)
    return Update(record.topic, payload["flight_id"], record.timestamp, payload)


def inputs(plan: FeaturePlan, records: TableDataset) -> dict[str, dict[str, Any]]:
    """Return the model's input for each flight, by id, computed by the engine's steps."""
    entities: dict[EntityKey, EntityFeatures] = {}
    items = [item(record) for record in records if record.topic != "flight_labels"]
    result: dict[str, dict[str, Any]] = {}
    for start in range(0, len(items), BATCH):
        batch = items[start : start + BATCH]
        questions = [each for each in batch if isinstance(each, Question)]
        parts = [
            entities.setdefault(key, EntityFeatures(key, plan.views_of(key.entity), plan.lateness)).run(steps)
            for key, steps in Splitter(plan).split(batch)
        ]
        vectors = Assembler(plan).assemble(len(questions), parts)
        for question, vector in zip(questions, vectors, strict=True):
            result[question.id] = given_to_the_model(plan, question, vector)
    return result


def given_to_the_model(plan: FeaturePlan, question: Question, vector: Sequence[Value]) -> dict[str, Any]:
    return {name: question.payload[name] for name in pipeline.inputs} | dict(
        zip(plan.names, vector, strict=True)
    )


def with_another_outcome(
    flights: pd.DataFrame, flight_id: str, dep_delay: Any, arr_delay: Any
) -> TableDataset:
    outcome = flights["flight_id"] == flight_id
    changed = flights.copy()
    changed.loc[outcome, ["dep_delay", "arr_delay"]] = dep_delay, arr_delay
    return dataset(changed)


def test_events_are_byte_identical_whatever_becomes_of_the_flights(
    raw: pd.DataFrame, airports: pd.DataFrame
) -> None:
    spread = raw[::20]  # 16,839 flights all over the year
    true = list(TableDataset({"flights": events(schedule(spread, airports))}, "flights"))
    unknown = spread.assign(**dict.fromkeys(FUTURE, float("nan")))
    others = spread.assign(
        **{name: spread[name].sample(frac=1, random_state=7).to_numpy() for name in FUTURE}
    )
    # the file is sorted by actual departure, which must not show either
    shuffled = spread.sample(frac=1, random_state=7)
    for changed in (unknown, others, shuffled):
        assert list(TableDataset({"flights": events(schedule(changed, airports))}, "flights")) == true


def test_the_events_of_cancelled_flights_have_the_shape_of_all_others(flights: pd.DataFrame) -> None:
    cancelled = flights["dep_delay"].isna()
    assert shapes(flights[cancelled]) == shapes(flights[~cancelled][:10_000])


def shapes(flights: pd.DataFrame) -> set[tuple[tuple[str, type], ...]]:
    log = TableDataset({"flights": events(flights)}, "flights")
    loaded = [orjson.loads(record.value) for record in log]
    return {
        tuple((name, None if name == "tail_number" else type(value)) for name, value in event.items())
        for event in loaded
    }


def test_an_unknown_tail_number_looks_to_the_model_like_an_aircraft_never_seen(
    plan: FeaturePlan, flights: pd.DataFrame
) -> None:
    day = flights[(flights["month"] == 2) & (flights["day"] == 8)].copy()  # a blizzard
    nameless = day[day["tailnum"].isna()].index
    assert len(nameless) > 50
    named = day.copy()
    named.loc[nameless, "tailnum"] = [f"NEW{number}" for number in range(len(nameless))]
    assert inputs(plan, dataset(day)) == inputs(plan, dataset(named))
    assert "tail_number" not in pipeline.inputs


@pytest.fixture(scope="module")
def early_leavers(flights: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The first flights, and five of them that left before their own question was asked."""
    first = flights[:250]
    return first, list(first["flight_id"][first["dep_delay"] < 0][-50::10])


def outcomes(flights: pd.DataFrame, flight_id: str) -> Iterator[TableDataset]:
    """The same day with another fate of one flight: much earlier, cancelled, late, there before it left."""
    yield with_another_outcome(flights, flight_id, -43, -70)
    yield with_another_outcome(flights, flight_id, None, None)
    yield with_another_outcome(flights, flight_id, 500, 490)
    yield with_another_outcome(flights, flight_id, -43, -1_000)


def test_a_flights_own_records_never_change_what_its_model_is_given(
    plan: FeaturePlan, early_leavers: tuple[pd.DataFrame, list[str]]
) -> None:
    first, leavers = early_leavers
    true = inputs(plan, dataset(first))
    for flight_id in leavers:
        for other in outcomes(first, flight_id):
            assert inputs(plan, other)[flight_id] == true[flight_id]


def test_without_the_exclusion_every_early_leaver_would_feed_its_own_features(
    plan: FeaturePlan, early_leavers: tuple[pd.DataFrame, list[str]]
) -> None:
    first, leavers = early_leavers
    leaking = including_own(plan)
    true = inputs(leaking, dataset(first))
    for flight_id in leavers:
        changed = [
            inputs(leaking, other)[flight_id] != true[flight_id] for other in outcomes(first, flight_id)
        ]
        assert all(changed)


def test_every_declared_view_excludes_the_events_own_record(plan: FeaturePlan) -> None:
    assert {view.stream for view in plan.views} == {source.topic for source in pipeline.sources}
    assert all(view.excludes_own for view in plan.views)


def test_the_leak_would_make_the_model_look_far_better_than_it_is(
    plan: FeaturePlan, flights: pd.DataFrame
) -> None:
    log = dataset(flights[:6_000])
    fair, leaking = (auc(progressive(inputs(p, log), log)) for p in (plan, including_own(plan)))
    assert 0.6 < fair < 0.75
    assert leaking > fair + 0.1


def progressive(given: dict[str, dict[str, Any]], log: TableDataset) -> list[tuple[float, bool]]:
    """Score and truth of each flight: predicted at its scheduled departure, learned when its label came."""
    model = pipeline.model()
    scores: dict[str, float] = {}
    scored: list[tuple[float, bool]] = []
    for record in log:
        payload = orjson.loads(record.value)
        flight_id = payload["flight_id"]
        if record.topic == "flights":
            scores[flight_id] = model.predict_proba_one(given[flight_id]).get(True, 0.5)
        elif record.topic == "flight_labels":
            model.learn_one(given[flight_id], payload["late"])
            scored.append((scores[flight_id], payload["late"]))
    return scored


def auc(scored: Sequence[tuple[float, bool]]) -> float:
    """The probability that a late flight is scored above a punctual one (Mann and Whitney, 1947)."""
    ranks = rankdata([score for score, _ in scored])
    late = [bool(truth) for _, truth in scored]
    positives = sum(late)
    above = sum(rank for rank, truth in zip(ranks, late, strict=True) if truth)
    return float((above - positives * (positives + 1) / 2) / (positives * (len(late) - positives)))
