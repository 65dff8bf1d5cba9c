"""The predict flow: from its input topics to predictions, feature rows and dead letters."""

from dataclasses import replace

import orjson
import pytest
from harness import CrashAfter, Project, run_flow
from made_flights import HOUR, MINUTE, NOON, arrival, departure, event, event_payload, record, traffic

from flows.adapters.bytewax.stored_slots import stored_states
from flows.core.features.entity_shard import EntityShard
from flows.core.features.feature_rows import decode
from flows.core.models.model import Model, ModelMessage
from flows.core.stream.broker import Outgoing
from flows.runtime.engine import Engine


def model_message(running: Engine, version: str, time: int, sequence: int = 1) -> Outgoing:
    """A champion that knows flights by American to be late."""
    model = Model(version, running.pipeline.model())
    names = running.pipeline.feature_names(running.state.plan())
    empty = {name: 0 if "count" in name else None for name in names} | {"minute_of_day": 600}
    for number in range(20):
        model.learn(empty | {"carrier": "AA" if number % 2 else "UA"}, bool(number % 2))
    message = ModelMessage(running.pipeline.name, "champion", time, model, {}, sequence)
    return running.sealer().record(running.pipeline.topic("models"), message)


def features(running: Engine, **given: object) -> list[object]:
    """A vector in which all that is not given is as for entities never seen."""
    names = running.pipeline.feature_names(running.state.plan())
    values = {name: 0 if "count" in name else None for name in names} | given
    assert len(values) == len(names)
    return [values[name] for name in names]


def windows(
    view: str, count: int, mean: float | None, largest: float | None, spans=("1h", "3h", "24h")
) -> dict:
    return {
        f"{view}__{name}_{span}": value
        for span in spans
        for name, value in (("count", count), ("mean_delay", mean), ("max_delay", largest))
    }


def test_every_valid_flight_gets_its_prediction_from_what_was_known_and_the_rest_are_dead_letters(
    project_on: Project,
) -> None:
    running = project_on.engine()
    third = event_payload("F3", NOON + 2 * MINUTE)
    broken = Outgoing("flights", b"{not json", b"x", timestamp=NOON)
    incomplete = record(
        "flights", NOON, {k: v for k, v in event_payload("F9", NOON).items() if k != "origin"}
    )
    unsigned = replace_headers(model_message(running, "v6", NOON + MINUTE), signature=b"forged")
    swap = model_message(running, "v7", NOON + MINUTE + 1)
    project_on.send(
        [
            departure("E1", NOON - 30 * MINUTE, 10, destination="BOS", tail="N2"),
            departure("F1", NOON - 5 * MINUTE, -5),  # left early: it must not feed its own features
            arrival("E2", NOON - 2 * HOUR, 40, origin="LGA", carrier="UA"),
            broken,
            event("F1", NOON),
            event("F1", NOON),
            incomplete,
            event("F2", NOON + MINUTE, tail=None),
            record("flights", NOON + 2 * MINUTE, third),
            unsigned,
            swap,
        ]
    )
    run_flow(running, "predict")

    names, plan = running.pipeline.feature_names(running.state.plan()), running.state.plan().hash
    at_jfk = windows("origin_departures", 1, 10.0, 10) | windows("carrier_departures", 1, 10.0, 10)
    with_f1 = (
        windows("origin_departures", 2, 2.5, 10)
        | windows("carrier_departures", 2, 2.5, 10)
        | windows("route_departures", 1, -5.0, -5)
    )
    of_aircraft = windows("aircraft_arrivals", 1, 40.0, 40, ("3h", "24h"))
    f1 = features(running, carrier="AA", minute_of_day=720, **at_jfk, **of_aircraft)
    f2 = features(running, carrier="AA", minute_of_day=721, **with_f1)
    f3 = features(
        running,
        carrier="AA",
        minute_of_day=722,
        **with_f1,
        **of_aircraft,
        **windows("aircraft_departures", 1, -5.0, -5),
    )
    swapped = running.sealer().open(swap.value, dict(swap.headers)["signature"]).model
    score = swapped.score(dict(zip(names, f3, strict=True)))
    common = {"shadows": {}, "plan": plan}
    assert score > 0.6
    served = project_on.values("predictions")
    read = [[p.pop("keys"), p.pop("at"), p.pop("moment")] for p in served]
    assert read == [
        [["JFK", "AA", "JFK-LAX", "N1"], [2, 1], 1000 * NOON + 1],
        [["JFK", "AA", "JFK-LAX", None], [2, 1], 1000 * (NOON + MINUTE) + 1],
        [["JFK", "AA", "JFK-LAX", "N1"], [2, 1], 1000 * (NOON + 2 * MINUTE) + 1],
    ]
    assert served == [
        {"id": "F1", "time": "2013-01-01T12:00:00.000Z", "score": 0.5, "model": "v1", "features": f1}
        | common
        | {"learned": 0},
        {"id": "F2", "time": "2013-01-01T12:01:00.000Z", "score": 0.5, "model": "v1", "features": f2}
        | common
        | {"learned": 0},
        {"id": "F3", "time": "2013-01-01T12:02:00.000Z", "score": score, "model": "v7", "features": f3}
        | common
        | {"learned": 20},
    ]
    dead = sorted(
        (h["topic"].decode(), int(h["offset"]), int(h["partition"]), h["reason"].decode(), letter.value)
        for letter in project_on.records("dead-letters")
        for h in [dict(letter.headers)]
    )
    assert dead == [
        ("flight_delays.models", 0, 0, "signature", unsigned.value),
        ("flights", 0, 0, "not-json", broken.value),
        ("flights", 2, 0, "duplicate", event("F1", NOON).value),
        ("flights", 3, 0, "schema", incomplete.value),
    ]


def test_each_view_that_got_records_has_a_feature_row(project: Project) -> None:
    project.send(
        [
            departure("E1", NOON - 5 * MINUTE, 10),
            departure("E2", NOON - MINUTE, 20, destination="BOS", carrier="UA"),
            event("F1", NOON, origin="LGA"),
        ]
    )
    run_flow(project.engine(), "predict")
    rows = [row for record in project.records("features") for row in decode(record)]
    both, first, second = [2, 15.0, 20] * 3, [1, 10.0, 10] * 3, [1, 20.0, 20] * 3
    assert {(row.view.removesuffix("_departures"), row.key): row.values for row in rows} == {
        ("origin", "JFK"): both,
        ("carrier", "AA"): first,
        ("carrier", "UA"): second,
        ("route", "JFK-LAX"): first,
        ("route", "JFK-BOS"): second,
        ("aircraft", "N1"): both,
    }
    assert all(NOON - 5 * MINUTE <= row.time <= NOON for row in rows)


@pytest.mark.parametrize("batches", [1, 4, 9])
def test_a_crash_between_writing_and_storing_the_state_repeats_no_prediction(
    project: Project, batches: int
) -> None:
    project = project.with_settings(BATCH=50)
    project.send(traffic(300))
    running = project.engine()
    with pytest.raises(RuntimeError):
        run_flow(replace(running, telemetry=CrashAfter(batches)), "predict", until=lambda _: False)
    assert 0 < len(project.values("predictions")) < 300
    run_flow(running, "predict")
    assert [p["id"] for p in project.values("predictions")] == [f"F{n:05}" for n in range(300)]


def test_predictions_after_a_crash_are_those_of_a_run_without_one(project: Project, applied: Project) -> None:
    project = project.with_settings(BATCH=50, EPOCH_SECONDS=0.1)
    project.send(traffic(300))
    running = project.engine()
    for batches in (3, 5):
        with pytest.raises(RuntimeError):
            run_flow(replace(running, telemetry=CrashAfter(batches)), "predict", until=lambda _: False)
    run_flow(running, "predict")
    clean = applied.copy_to(project.directory.with_name("clean"))
    clean.send(traffic(300))
    run_flow(clean.engine(), "predict")
    assert project.values("predictions") == clean.values("predictions")


def test_a_flow_that_lost_its_state_writes_nothing_twice(project_on: Project) -> None:
    bad = Outgoing("flights", b"?", timestamp=NOON)
    project_on.send([*traffic(100), bad])
    running = project_on.engine()
    run_flow(running, "predict")
    before = project_on.records("predictions"), project_on.records("dead-letters")
    assert (len(before[0]), len(before[1])) == (100, 1)
    running.state.recovery_dir("predict").rename(project_on.directory / "lost")
    run_flow(running, "predict", until=lambda _: features_are_repeated(project_on))
    assert (project_on.records("predictions"), project_on.records("dead-letters")) == before


def features_are_repeated(project: Project) -> bool:
    """Feature rows carry no id, so they show that everything was worked on again."""
    last = [orjson.loads(r.value)["rows"] for r in project.records("features")][-1]
    return [orjson.loads(r.value)["rows"] for r in project.records("features")].count(last) == 2


def test_the_flow_that_drained_goes_on_where_it_stood(project_on: Project) -> None:
    records = traffic(200)
    running = project_on.engine()
    half = len(records) // 2
    project_on.send(records[:half])
    run_flow(running, "predict")
    project_on.send(records[half:])
    run_flow(running, "predict")
    clean = [p["features"] for p in project_on.values("predictions")]
    running.state.recovery_dir("predict").rename(project_on.directory / "lost")
    project_on.make_topics()
    project_on.send(records)
    run_flow(running, "predict")
    assert [p["features"] for p in project_on.values("predictions")] == clean


def test_after_restarts_an_entity_that_was_never_touched_again_expires_when_its_time_has_passed(
    project: Project,
) -> None:
    running = project.engine()
    idle = {"origin=JFK", "carrier=AA", "route=JFK-LAX", "tail_number=N1"}
    busy = {"origin=EWR", "carrier=UA", "route=EWR-BOS", "tail_number=N2"}
    elsewhere = {"origin": "EWR", "carrier": "UA", "destination": "BOS", "tail": "N2"}
    project.send([departure("E1", NOON - MINUTE, 10), event("F1", NOON), event("F2", NOON, **elsewhere)])
    run_flow(running, "predict")
    assert stored_entities(running) == idle | busy
    project.send([event("F3", NOON + 26 * HOUR, **elsewhere)])  # the windows are 24 h, the lateness is 3 h
    run_flow(running, "predict")
    assert stored_entities(running) == idle | busy
    project.send([event("F4", NOON + 31 * HOUR, **elsewhere)])
    run_flow(running, "predict")
    assert stored_entities(running) == busy


def stored_entities(running: Engine) -> set[str]:
    """The entities that a restart would find."""
    directory, shards = running.state.recovery_dir("predict"), running.state.shards(1)
    newest = {orjson.loads(state)["shard"]: state for state in stored_states(directory, "windows")}
    plan = running.state.plan()
    return {name for state in newest.values() for name in EntityShard(plan, shards, None, state)}


def replace_headers(outgoing: Outgoing, **headers: bytes) -> Outgoing:
    return outgoing._replace(headers=tuple((dict(outgoing.headers) | headers).items()))
