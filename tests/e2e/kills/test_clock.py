"""A clock that is set back while the flows run."""

import os
import shutil
from collections import Counter
from pathlib import Path

from endpoints import SECRET, endpoint
from harness import PATIENCE, Project, lag, run_flow, unavailable, wait_until
from made_flights import traffic
from signals import outgoing, signal

FLIGHTS = 200
SLEEP = """
import select, time

time.sleep = lambda seconds: select.select([], [], [], seconds)  # faketime breaks the one that Python has
"""


def faketime() -> str:
    """The library that lets a process see another time."""
    if not shutil.which("faketime"):
        unavailable("faketime is not installed: 'apt install faketime' or 'brew install libfaketime'")
    return str(next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")))


class Clock:
    """The clock of the project's flows, by `environment`."""

    def __init__(self, project: Project) -> None:
        self._file = project.directory / "clock"
        self.set(0)
        (project.directory / "sitecustomize.py").write_text(SLEEP)
        self.environment = {
            "LD_PRELOAD": faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{project.directory}:{os.environ.get('PYTHONPATH', '')}",
        }

    def set(self, seconds: int) -> None:
        """So far from the true time; within a second the flows see it."""
        self._file.write_text(f"{seconds:+}")


def test_an_alert_that_waits_for_its_next_attempt_waits_no_longer_when_the_clock_is_set_back(
    project: Project,
) -> None:
    clock = Clock(project)
    project.send([outgoing(signal(1))])
    with endpoint(429, 429, 429, 429, 200) as (url, given):  # with pauses of 1, 2, 4 and 8 seconds
        webhook = {"WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_ALLOW_PRIVATE": "true"}
        alerting = project.with_settings(HTTP_PORT=0, **webhook)
        with alerting.flows("alert", **clock.environment) as running:
            wait_until(lambda: len(given) == 2, PATIENCE)
            clock.set(-3600)
            wait_until(lambda: given[-1] == 200, PATIENCE)
            assert running.stop() == 0, running.said()
    assert given == [429, 429, 429, 429, 200]
    assert "starting it again" not in running.said()
    assert project.records("dead-letters") == []


def test_a_clock_that_is_set_back_stops_nothing_and_changes_nothing(
    project: Project, applied: Project
) -> None:
    clock = Clock(project)
    project = project.with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.5)
    project.apply_feast()
    engine = project.engine()
    sent = traffic(FLIGHTS)
    half = len(sent) // 2
    flights = sum(record.topic == "flights" for record in sent[:half])
    labels = sum(record.topic == "flight_labels" for record in sent[:half])
    with (
        project.flows("predict", "learn", "materialize", **clock.environment) as running,
        project.broker() as broker,
    ):

        def is_done(flights: int, labels: int) -> bool:
            *_, last = [{"labels": 0}, *project.values("metrics")]
            done = (len(project.records("predictions")), last["labels"]) == (flights, labels)
            return done and not lag(broker, engine, "materialize")

        project.send(sent[:half])
        wait_until(lambda: is_done(flights, labels), PATIENCE)
        clock.set(-3600)
        project.send(sent[half:])
        wait_until(lambda: is_done(FLIGHTS, FLIGHTS), PATIENCE)
        assert running.stop() == 0, running.said()
    assert set(running.pids()) == {"predict", "learn", "materialize"}
    assert "starting it again" not in running.said()
    assert project.records("dead-letters") == []

    clean = applied.copy_to(project.directory.with_name("clean"))
    clean.send(sent[:half])
    clean.send(sent[half:])
    run_flow(clean.engine(), "predict")
    served = {p["id"]: p["features"] for p in project.values("predictions")}
    assert Counter(p["id"] for p in project.values("predictions")) == dict.fromkeys(served, 1)
    assert served == {p["id"]: p["features"] for p in clean.values("predictions")}
