"""The predict flow with batch views: the served values and the counted nulls."""

import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pandas as pd
import pytest
from harness import Project, run_flow
from made_flights import HOUR, NOON, departure, event

from flows.adapters.feast.compiler import compile_plan
from flows.adapters.feast.repo import open_store
from flows.adapters.prometheus import metrics as telemetry
from flows.core.features.plan import LATENESS
from flows.runtime.engine import Engine
from flows.runtime.validation import check_plan

WEATHER = """
from feast import FeatureView, FileSource

hour = Entity(name="hour", join_keys=["hour"], value_type=ValueType.INT64)
weather = FeatureView(
    name="weather",
    entities=[origin, hour],
    ttl=timedelta(hours=1),
    source=FileSource(name="weather", path="/nowhere/weather.parquet", timestamp_field="event_timestamp"),
    schema=[Field(name="wind", dtype=Float64), Field(name="sky", dtype=String)],
)
seats = FeatureView(
    name="seats",
    entities=[aircraft],
    ttl=timedelta(days=9999),
    source=FileSource(name="seats", path="/nowhere/seats.parquet", timestamp_field="event_timestamp"),
    schema=[Field(name="seats", dtype=Int64)],
)
windy_delays = FeatureService(name="windy_delays", features=[weather, seats, origin_departures])
"""


@pytest.fixture
def windy(project: Project) -> Project:
    """The example with two batch views, applied; its pipeline is `running(windy)`'s."""
    declarations = project.directory / "feature_repo" / "flights.py"
    declarations.write_text(declarations.read_text() + WEATHER)
    project.apply_feast()
    engine = running(project)
    plan = compile_plan(engine.project.feature_repo, engine.settings.feature_store, "windy_delays", LATENESS)
    check_plan(engine.pipeline, plan)
    engine.state.plan_file.write_bytes(plan.to_json())
    return project


def running(project: Project) -> Engine:
    return project.engine(service="windy_delays", model=model)


def model():
    """Needs no feature: what is served is what the tests look at."""
    from river.dummy import PriorClassifier

    return PriorClassifier()


def write(project: Project, view: str, *rows: dict) -> None:
    engine = running(project)
    store = open_store(engine.project.feature_repo, engine.settings.feature_store)
    store.write_to_online_store(view, pd.DataFrame(rows))


def weather(time: int, wind: float, origin="JFK", hour=12) -> dict:
    at = datetime.fromtimestamp(time / 1000, UTC)
    return {"origin": origin, "hour": hour, "wind": wind, "sky": "rain", "event_timestamp": at}


def seats(tail: str, number: int) -> dict:
    at = datetime.fromtimestamp((NOON - 1000 * HOUR) / 1000, UTC)
    return {"tail_number": tail, "seats": number, "event_timestamp": at}


def served(project: Project) -> dict[str, list]:
    """By flight: what the batch views gave."""
    names = running(project).pipeline.feature_names(running(project).state.plan())
    wanted = [names.index(name) for name in ("weather__wind", "weather__sky", "seats__seats")]
    return {p["id"]: [p["features"][at] for at in wanted] for p in project.values("predictions")}


def nulls() -> dict[tuple[str, str], float]:
    (family,) = telemetry.LOOKUPS_NULL.collect()
    return {(s.labels["view"], s.labels["reason"]): s.value for s in family.samples}


def counted_since(before: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    grown = {key: value - before.get(key, 0) for key, value in nulls().items()}
    return {key: value for key, value in grown.items() if value}


def test_predictions_carry_what_the_store_holds_of_the_time_and_count_the_rest(windy: Project) -> None:
    write(windy, "weather", weather(NOON, 7.5), weather(NOON + HOUR, 9.0, "LGA"), weather(NOON, 3.0, "EWR"))
    write(windy, "seats", seats("N1", 180))
    windy.send(
        [
            departure("E1", NOON - 1, 10),
            event("fresh", NOON),
            event("future", NOON + 1, origin="LGA"),
            event("missing", NOON + 2, origin="BOS", tail="N2"),
            event("nameless", NOON + 3, tail=None),
            event("last", NOON + HOUR - 1),
            event("stale", NOON + 25 * HOUR - HOUR, origin="EWR"),
        ]
    )
    before = nulls()
    run_flow(running(windy), "predict")
    assert served(windy) == {
        "fresh": [7.5, "rain", 180],
        "future": [None, None, 180],
        "missing": [None, None, None],
        "nameless": [7.5, "rain", None],
        "last": [7.5, "rain", 180],
        "stale": [None, None, 180],
    }
    assert counted_since(before) == {
        ("weather", "future"): 1,
        ("weather", "missing"): 1,
        ("weather", "stale"): 1,
        ("seats", "missing"): 2,
    }
    names = running(windy).pipeline.feature_names(running(windy).state.plan())
    counts = [p["features"][names.index("origin_departures__count_1h")] for p in windy.values("predictions")]
    assert counts[0] == 1


def test_a_store_that_is_away_stops_no_prediction(windy: Project, caplog: pytest.LogCaptureFixture) -> None:
    with closing(sqlite3.connect(windy.directory / ".driftline" / "feast" / "online.db")) as database:
        for view in ("weather", "seats"):
            database.execute(f"DROP TABLE driftline_{view}")
    windy.send([event(f"F{number}", NOON + number) for number in range(50)])
    before = nulls()
    with caplog.at_level(logging.WARNING, "driftline.lookups"):
        run_flow(running(windy), "predict")
    assert served(windy) == {f"F{number}": [None, None, None] for number in range(50)}
    assert counted_since(before) == {("weather", "away"): 50, ("seats", "away"): 50}
    assert "store is unavailable (OperationalError), so the features of weather are null" in caplog.text
