"""`driftline verify features`, on what the flows served."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pandas as pd
import pyarrow as pa
from harness import DRIFTLINE, PATIENCE, Project, run_flow
from made_flights import HOUR, MINUTE, NOON, departure, event, traffic
from materializing import run as run_materialize

from flows.core.features.plan import Input, Output, Transform
from flows.core.stream.broker import Outgoing
from flows.host.functions import source_hash
from flows.jobs.materialize_progress import MaterializeProgress
from flows.jobs.verify import Verification


def served(project: Project, records: list[Outgoing]) -> None:
    """Let the predict flow answer the records, in the order of the log."""
    project.send(records)
    run_flow(project.engine(), "predict")


def verified(project: Project, *options: str) -> tuple[int, dict]:
    done = project.run("verify", "features", "--json", *options)
    assert done.stdout, done.stderr
    return done.returncode, orjson.loads(done.stdout)


def total(report: dict, what: str) -> int:
    return sum(view[what] for view in report["views"])


def test_everything_that_was_served_is_equal_to_the_recomputation_and_to_feast_s_join(
    project: Project,
) -> None:
    project.apply_feast()
    late = departure("F-late", NOON - 9 * HOUR, 5)
    served(project, [*traffic(300), late, event("F00001", NOON)])
    run_materialize(project.engine())
    code, report = verified(project)
    assert (code, report["questions"], report["refused"]) == (0, 300, {"late": 1})
    assert [view["view"] for view in report["views"]] == [v.name for v in project.engine().state.plan().views]
    for view in report["views"]:
        assert (view["rows"], view["equal"], view["explained"], view["mismatches"]) == (300, 300, 0, 0)
        assert view["feast_mismatches"] == 0
        assert view["feast_rows"] == 300 or view["view"].startswith("aircraft")


def test_while_materialize_is_behind_feast_is_not_asked_and_wait_waits_for_it(project: Project) -> None:
    project.apply_feast()
    served(project, traffic(30))
    done = project.run("verify", "features", "--json")
    report = orjson.loads(done.stdout)
    assert done.returncode == 4
    records = sum(len(project.records(topic)) for topic in ("predictions", "features"))
    assert f"not compared with Feast: materialize lags by {records} records" in done.stderr
    assert total(report, "equal") == 30 * len(report["views"])
    assert {view["feast_rows"] for view in report["views"]} == {None}
    waiting = project.start(DRIFTLINE, "verify", "features", "--wait", "--json")
    run_materialize(project.engine())
    assert waiting.process.wait(PATIENCE) == 0, waiting.said()
    report = orjson.loads(waiting.said())
    assert min(view["feast_rows"] for view in report["views"]) > 0
    assert total(report, "feast_mismatches") == 0


def test_a_materialize_that_does_not_move_is_waited_for_no_longer_than_its_patience(project: Project) -> None:
    served(project, [event("F1", NOON)])
    with project.broker() as broker:
        stores = MaterializeProgress(project.engine().pipeline, broker)
        steps: list[int] = []
        assert (stores.wait(steps.append, patience=0.3), steps) == (stores.lag(), [])
        assert stores.lag() == 1
        project.send([event("F2", NOON)])
        run_flow(project.engine(), "predict")
        assert stores.lag() == 1  # what came later does not matter


def test_a_row_that_lacks_a_record_which_came_later_is_explained_by_its_position(project: Project) -> None:
    served(project, [event("F1", NOON), event("F2", NOON + MINUTE)])
    late = departure("F9", NOON - MINUTE, 5)
    served(project, [late._replace(timestamp=NOON + 2 * MINUTE), event("F3", NOON + 3 * MINUTE)])
    code, report = verified(project, "--no-feast")
    assert code == 0
    views = {view["view"]: (view["equal"], view["explained"]) for view in report["views"]}
    assert views == {
        f"{entity}_{topic}": (1, 2) if topic == "departures" else (3, 0)
        for entity in ("origin", "carrier", "route", "aircraft")
        for topic in ("departures", "arrivals")
    }
    listed = [(e["question"], e["record"], e["topic"], e["offset"]) for e in report["explanations"]]
    assert sorted(set(listed)) == [("F1", "F9", "departures", 0), ("F2", "F9", "departures", 0)]


def test_a_wrong_feature_fails_and_says_what_it_should_have_been(project: Project) -> None:
    served(project, [departure("F1", NOON - MINUTE, 30), event("F2", NOON)])
    running = project.engine()
    (prediction,) = project.records("predictions")
    body = orjson.loads(prediction.value)
    position = running.pipeline.feature_names(running.state.plan()).index("origin_departures__mean_delay_3h")
    body |= {"id": "F2-again", "features": [*body["features"]]}
    body["features"][position] += 0.5
    project.send([Outgoing(prediction.topic, orjson.dumps(body), b"x", timestamp=NOON)])
    done = project.run("verify", "features", "--no-feast")
    assert done.returncode == 1
    assert "mismatch: origin_departures of F2-again, key JFK: served [1, 30.0, 30.0, 1, 30.5," in done.stdout
    code, report = verified(project, "--no-feast")
    assert (code, total(report, "mismatches"), report["examples"][0]["expected"][4]) == (1, 1, 30.0)


def hour(given: dict[str, list]) -> dict[str, list]:
    """A transform."""
    return {"hour": [at.hour for at in given["scheduled_departure"]]}


def test_feast_is_asked_once_for_each_question_with_the_fields_of_its_event(
    project: Project, tmp_path: Path
) -> None:
    field = Input("scheduled_departure", "time")
    clock = Transform("clock", f"{__name__}:hour", source_hash(hour), (field,), (), (Output("hour", "int"),))
    running = project.engine()
    running.state.plan_file.write_bytes(replace(running.state.plan(), transforms=(clock,)).to_json())
    served(project, [event("F1", NOON), event("F1", NOON), event("F2", NOON + HOUR)])
    asked = []
    with (
        project.broker() as broker,
        closing(Verification(running.pipeline, running.state.plan(), broker, tmp_path, (0, 2**42))) as run,
    ):
        read: list[int] = []
        run.load(read.append)
        results = run.transforms()
        run.join(lambda frame: asked.append(frame) or joined(frame), results, read.append)
    (frame,) = asked
    assert frame["scheduled_departure"].dt.hour.to_list() == [12, 13]
    assert [(r.view, r.feast_rows, r.feast_mismatches) for r in results] == [("clock", 2, 1)]


def joined(frame: pd.DataFrame) -> pa.Table:
    """What Feast would answer, wrong for the second question."""
    return pa.table({"driftline_question": frame["driftline_question"], "clock__hour": [12, 12]})


def test_only_the_questions_of_the_range_are_compared(project: Project) -> None:
    served(project, traffic(100))
    span = ("--since", "2013-01-01T12:30:00Z", "--until", "2013-01-01T13:00:00Z")
    code, report = verified(project, "--no-feast", *span)
    assert (code, report["questions"], total(report, "equal")) == (0, 30, 240)


def test_what_cannot_be_compared_is_said(project: Project) -> None:
    done = project.run("verify", "features")
    assert done.returncode == 2
    assert "has no prediction of plan" in done.stderr
    assert "run the flows first" in done.stderr
    done = project.run("verify", "features", "--since", "yesterday")
    assert (done.returncode, "--since must be a time in ISO 8601, got 'yesterday'; " in done.stderr) == (
        2,
        True,
    )
    served(project, [event("F1", NOON)])
    (prediction,) = project.records("predictions")
    other = orjson.dumps(orjson.loads(prediction.value) | {"plan": "0" * 12})
    topic = prediction.topic
    body = orjson.loads(prediction.value)
    wrong = orjson.dumps(body | {"features": ["x"] * len(body["features"])})
    project.send([Outgoing(topic, value, timestamp=NOON) for value in (other, b"what?", wrong)])
    code, report = verified(project, "--no-feast")
    left_out = {"of another plan": 1, "no prediction": 1, "that the engine did not write": 1}
    assert (code, report["left_out"]) == (0, left_out)
