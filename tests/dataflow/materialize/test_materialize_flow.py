"""The materialize flow: feature rows reach Feast's stores, also after an outage of a store."""

import logging
import shutil
import time
from collections import Counter
from random import Random

import orjson
import pandas as pd
import pytest
from harness import DurableRedis, Project, lag, run_flow, wait_until
from made_flights import HOUR, MINUTE, NOON, departure, event, traffic
from materializing import run, store_of
from redis import Redis

from flows.adapters.prometheus import metrics as telemetry
from flows.core.features.batch import Row
from flows.core.features.feature_rows import encode
from flows.core.stream.broker import Broker, Outgoing
from flows.core.stream.dead_letter import read
from flows.runtime.engine import Engine

VALUES = [3, 1.5, 2.0, 4, 2.5, 3.0, 5, 3.5, 9.0]
NAMES = [
    f"{name}_{window}" for window in ("1h", "3h", "24h") for name in ("count", "mean_delay", "max_delay")
]


def rows(running: Engine, view: str, *rows: tuple[str, int, float]) -> list[Outgoing]:
    """The record of rows (key, time, what is added to each value) of one view."""
    made = [Row(view, key, time, [value + more for value in VALUES]) for key, time, more in rows]
    return encode(running.pipeline.topic("features"), made)


def online(store, view: str, entity: str, keys: list[str]) -> list[list[float | None]]:
    """What a Feast client reads, a list of values for each key."""
    answer = store.get_online_features(
        features=[f"{view}:{name}" for name in NAMES], entity_rows=[{entity: key} for key in keys]
    ).to_dict()
    return [[answer[name][row] for name in NAMES] for row in range(len(keys))]


def test_rows_reach_the_online_store_where_the_newest_wins_and_the_offline_store_where_all_stay(
    project_on: Project,
) -> None:
    project_on.apply_feast()
    running = project_on.engine()
    project_on.send(
        [
            *rows(running, "origin_departures", ("JFK", NOON, 0), ("LGA", NOON, 10)),
            *rows(running, "aircraft_arrivals", ("N1", NOON, 20)),
        ]
    )
    run(running)
    project_on.send(rows(running, "origin_departures", ("JFK", NOON + MINUTE, 1), ("LGA", NOON - MINUTE, 99)))
    run(running)

    store = store_of(project_on)
    assert online(store, "origin_departures", "origin", ["JFK", "LGA", "EWR"]) == [
        [v + 1 for v in VALUES],
        [v + 10 for v in VALUES],
        [None] * 9,
    ]
    assert online(store, "aircraft_arrivals", "tail_number", ["N1"]) == [[v + 20 for v in VALUES]]
    asked = [("JFK", NOON + 30_000), ("JFK", NOON + HOUR), ("LGA", NOON - 1), ("LGA", NOON - HOUR)]
    frame = pd.DataFrame(
        {
            "origin": [k for k, _ in asked],
            "event_timestamp": pd.to_datetime([t for _, t in asked], unit="ms", utc=True),
        }
    )
    history = store.get_historical_features(
        frame, features=["origin_departures:count_1h", "origin_departures:max_delay_24h"]
    ).to_df()
    found = {
        (r.origin, r.event_timestamp.value // 10**6): (r.count_1h, r.max_delay_24h)
        for r in history.itertuples()
    }
    assert found[asked[0]] == (3, 9.0)
    assert found[asked[1]] == (4, 10.0)
    assert found[asked[2]] == (3 + 99, 9.0 + 99)
    assert pd.isna(found[asked[3]][0])


def test_a_redis_that_is_stopped_and_started_again_loses_nothing(
    project: Project, durable_redis: DurableRedis, caplog: pytest.LogCaptureFixture
) -> None:
    project = project.with_settings(FEATURE_STORE="feature_store.redis.yaml", REDIS=durable_redis.address)
    project.apply_feast()
    running = project.engine()
    caplog.set_level(logging.WARNING, "driftline.materialize")
    keys = [f"N{number}" for number in range(300)]

    def half(part: int) -> None:
        project.send(
            record
            for number, key in enumerate(keys)
            if number % 2 == part
            for record in rows(running, "aircraft_departures", (key, NOON + number, number))
        )

    def interrupted(broker: Broker) -> bool:
        half(0)
        wait_until(lambda: lag(broker, running, "materialize") == 0, 30)
        durable_redis.end()
        half(1)
        wait_until(lambda: "trying again" in caplog.text, 30)
        durable_redis.start()
        wait_until(lambda: lag(broker, running, "materialize") == 0, 30)
        return True

    run(running, interrupted)
    store = store_of(project, "feature_store.redis.yaml")
    assert online(store, "aircraft_departures", "tail_number", keys) == [
        [v + number for v in VALUES] for number in range(300)
    ]


def test_feasts_point_in_time_join_at_a_questions_moment_gives_exactly_what_was_served(
    project: Project,
) -> None:
    project.apply_feast()
    running = project.with_settings(BATCH=10).engine()
    random = Random(5)
    asked, others = [], []
    for number, record in enumerate(traffic(200)):
        if record.topic == "flights" and number % 3 == 0:
            payload = orjson.loads(record.value)
            others += [moved(payload, f"{payload['flight_id']}-same-{n}", record.timestamp) for n in range(3)]
            past = record.timestamp - random.randrange(1, 2 * HOUR)
            others.append(moved(payload, f"{payload['flight_id']}-past", past))
            left = departure(payload["flight_id"], record.timestamp - MINUTE, -1, **of(payload))
            asked.append(left)  # early: its own question must not be answered from it
        asked.append(record)
        if number % 7 == 0:
            asked += others
            others.clear()
    project.send(asked)
    run_flow(running, "predict")
    run(running)

    plan, served = running.state.plan(), project.values("predictions")
    moments = [p["moment"] for p in served]
    assert len(set(moments)) == len(moments) > 400
    assert len({moment // 1000 for moment in moments}) < len(moments) - 100
    assert moments != sorted(moments)
    frame = pd.DataFrame([p["keys"] for p in served], columns=plan.entities)
    frame["event_timestamp"] = pd.to_datetime(moments, unit="us", utc=True)
    frame["id"] = [p["id"] for p in served]
    store = store_of(project)
    service = store.get_feature_service("flight_delays")
    joined = store.get_historical_features(frame, service, full_feature_names=True).to_df().set_index("id")
    keyless = {
        entity: [p["id"] for p in served if p["keys"][n] is None] for n, entity in enumerate(plan.entities)
    }
    assert keyless["tail_number"]
    start = len(running.pipeline.inputs)
    for number, (view, name) in enumerate(
        (v, f"{v.name}__{a.name}") for v in plan.views for a in v.aggregates
    ):
        expected = {p["id"]: p["features"][start + number] for p in served}
        expected |= dict.fromkeys(keyless[view.entity])  # Feast finds no row for no key
        found = {id_: None if pd.isna(value) else value for id_, value in joined[name].items()}
        assert found == expected, name


def moved(payload: dict, flight: str, time: int) -> Outgoing:
    """The question of another flight like this one, at `time`."""
    return event(flight, time, **of(payload))


def of(payload: dict) -> dict:
    return {
        "origin": payload["origin"],
        "carrier": payload["carrier"],
        "destination": payload["destination"],
        "tail": payload["tail_number"],
    }


def test_a_redis_that_lost_everything_is_filled_again_when_the_flows_state_is_removed(
    project: Project, durable_redis: DurableRedis
) -> None:
    project = project.with_settings(FEATURE_STORE="feature_store.redis.yaml", REDIS=durable_redis.address)
    project.apply_feast()
    running = project.engine()
    project.send(rows(running, "origin_departures", ("JFK", NOON, 0), ("LGA", NOON, 10)))
    run(running)
    with Redis.from_url(f"redis://{durable_redis.address}") as client:
        assert client.dbsize() == 2
        client.flushall()
    shutil.rmtree(running.state.recovery_dir("materialize"))
    run(running)
    store = store_of(project, "feature_store.redis.yaml")
    assert online(store, "origin_departures", "origin", ["JFK", "LGA"]) == [VALUES, [v + 10 for v in VALUES]]


def sample(name: str, **labels: str) -> float:
    return telemetry.REGISTRY.get_sample_value(f"driftline_{name}", labels) or 0.0


def test_records_that_the_engine_did_not_write_are_dead_letters_and_hold_nothing_back(
    project_on: Project,
) -> None:
    project_on.apply_feast()
    running = project_on.engine()
    features, predictions = (running.pipeline.topic(kind) for kind in ("features", "predictions"))
    other = sample("predictions_of_other_plans_total")
    (good,) = rows(running, "origin_departures", ("JFK", NOON, 0))
    body = orjson.loads(good.value)
    strange = [
        b"not JSON",
        b"[]",
        orjson.dumps(body | {"view": "nobodys"}),
        orjson.dumps(body | {"rows": [["JFK", NOON + 1, VALUES[1:]]]}),
        orjson.dumps(body | {"rows": [["JFK", NOON + 1, ["3", *VALUES[1:]]]]}),
    ]
    served = {"plan": running.state.plan().hash, "keys": ["JFK", None, None, None], "moment": 1000 * NOON + 1}
    of_others = [b"{}", orjson.dumps(served | {"features": [1]})]
    project_on.send(
        [
            good,
            *[Outgoing(features, value, timestamp=NOON + 1 + n) for n, value in enumerate(strange)],
            *[
                Outgoing(predictions, value, timestamp=NOON + HOUR)
                for value in (*of_others, orjson.dumps(served | {"plan": "0123456789ab"}))
            ],
            *rows(running, "origin_departures", ("JFK", NOON + MINUTE, 1)),
        ]
    )
    run(running)

    assert online(store_of(project_on), "origin_departures", "origin", ["JFK"]) == [[v + 1 for v in VALUES]]
    assert sample("predictions_of_other_plans_total") - other == 1
    letters = [read(record) for record in project_on.records("dead-letters")]
    assert Counter((letter.origin, letter.reason, letter.value) for letter in letters) == Counter(
        (topic, "not-json" if value == b"not JSON" else "schema", value)
        for topic, values in ((features, strange), (predictions, of_others))
        for value in values
    )


def test_freshness_is_that_of_the_newest_row_of_each_record(project: Project) -> None:
    project.apply_feast()
    running = project.engine()
    now, name = time.time_ns() // 1_000_000, "feature_freshness_seconds_bucket"
    edges = ("60.0", "300.0", "3600.0", "+Inf")
    before = [sample(name, le=edge) for edge in edges]
    project.send(
        [
            *rows(running, "origin_departures", ("JFK", now - 30 * MINUTE, 0)),
            *rows(running, "origin_arrivals", ("JFK", now - 2 * MINUTE, 0), ("LGA", now - 24 * HOUR, 0)),
        ]
    )
    run(running)
    assert [sample(name, le=edge) - b for edge, b in zip(edges, before, strict=True)] == [0, 1, 2, 2]
