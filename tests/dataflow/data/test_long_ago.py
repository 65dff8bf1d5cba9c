"""Records of 1996, as in well-known public streams, in a backtest and in the flows."""

import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from harness import Project, run_flow
from made_flights import HOUR, MINUTE, arrival, departure, event, event_payload, label, record
from materializing import run as run_materialize
from typer.testing import CliRunner

from flows.cli.app import app
from flows.core.stream.broker import Outgoing
from flows.core.stream.times import iso

START = 831_427_200_000  # 1996-05-07T00:00:00Z
FLIGHTS = 60
DAY = 24 * HOUR
LATELY = 1_767_225_599_999  # the last millisecond of 2025
MODULE = f"""
from dataclasses import replace

from flows.pipelines import flight_delays

pipeline = replace(flight_delays.pipeline, dataset="{__name__}:records")
"""


class Records:
    """A flight a minute."""

    events = FLIGHTS

    def __len__(self) -> int:
        return 4 * FLIGHTS

    def __iter__(self) -> Iterator[Outgoing]:
        out = []
        for number in range(FLIGHTS):
            flight, time, late = f"F{number}", START + number * MINUTE, number % 3 == 0
            out += [event(flight, time), departure(flight, time + MINUTE, 30 * late)]
            out += [arrival(flight, time + HOUR, 30 * late), label(flight, time + HOUR, late)]
        return iter(sorted(out, key=lambda each: each.timestamp or 0))


def records(_events: int | None) -> Records:
    return Records()


@pytest.fixture(autouse=True)
def _there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(project.directory)


def command(*arguments: str) -> dict:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return orjson.loads(done.stdout)


def test_a_data_set_of_1996_runs_through_a_backtest_and_the_flows_and_is_verified(
    project: Project, tmp_path: Path
) -> None:
    (project.directory / "flights_of_1996.py").write_text(MODULE)
    (project.directory / "driftline.toml").write_text('pipelines = ["flights_of_1996"]\n')

    backtest = command("backtest", "--report", str(tmp_path / "page.html"))
    assert (backtest["events"], backtest["labels"], backtest["dead_letters"]) == (FLIGHTS, FLIGHTS, 0)

    project.send(list(Records()))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    assert project.records("dead-letters") == []
    served = project.values("predictions")
    assert [served[0]["time"], len(served)] == ["1996-05-07T00:00:00.000Z", FLIGHTS]
    assert project.values("metrics")[-1]["labels"] == FLIGHTS
    report = command("verify", "features", "--no-feast")
    assert {(view["equal"], view["mismatches"]) for view in report["views"]} == {(FLIGHTS, 0)}


def test_the_first_weeks_of_1970_and_those_of_today_are_served_stored_and_verified(project: Project) -> None:
    project.apply_feast()
    moments = {
        0: "1970-01-01T00:00:00.000Z",
        20 * DAY: "1970-01-21T00:00:00.000Z",
        LATELY: "2025-12-31T23:59:59.999Z",
    }
    for number, moment in enumerate(moments):
        asked = event_payload(f"F{number}", moment) | {"scheduled_arrival": iso(moment)}
        project.send([departure(f"D{number}", moment, number), record("flights", moment, asked)])
    running = project.engine()
    run_flow(running, "predict")
    run_materialize(running)
    assert [served["time"] for served in project.values("predictions")] == list(moments.values())
    assert project.records("dead-letters") == []
    report = command("verify", "features")
    assert {(v["equal"], v["mismatches"], v["feast_mismatches"]) for v in report["views"]} == {(3, 0, 0)}
