"""Two engines with separate state directories on one Kafka."""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

from harness import PATIENCE, Project, Running, wait_until
from made_flights import NOON, event


def elsewhere(project: Project, directory: Path) -> Project:
    """The project with a state of its own."""
    other = project.copy_to(directory)
    (other.directory / ".driftline" / "engine").write_text("elsewhere")
    return other


def predict(project: Project) -> Running:
    return project.start(sys.executable, "-m", "flows.runtime.runner", "predict", DRIFTLINE_HTTP_PORT="0")


def served(project: Project, number: int) -> None:
    wait_until(lambda: len(project.records("predictions")) == number, PATIENCE)


def test_a_second_engine_refuses_and_the_first_goes_on_also_after_a_kill(
    project_on_kafka: Project, tmp_path: Path
) -> None:
    project = project_on_kafka
    other = elsewhere(project, tmp_path / "other")
    with project.with_settings(HTTP_PORT=0).flows("predict") as running:
        project.send([event("F1", NOON)])
        served(project, 1)
        refused = other.with_settings(HTTP_PORT=0).run("run", "predict")
        assert refused.returncode == 2
        assert "another engine is in the group 'driftline.flight_delays.predict.engine'" in refused.stderr

        killed = running.pids()["predict"]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: running.pids()["predict"] != killed, PATIENCE)
        project.send([event("F2", NOON + 1)])
        served(project, 2)
        assert running.stop() == 0, running.said()


def test_of_two_engines_started_at_once_one_serves_and_nothing_is_twice(
    project_on_kafka: Project, tmp_path: Path
) -> None:
    project = project_on_kafka
    project.send([event(f"F{n}", NOON + n) for n in range(2_000)])
    engines = [predict(project), predict(elsewhere(project, tmp_path / "other"))]
    try:
        wait_until(lambda: any(e.process.poll() is not None for e in engines), PATIENCE)
        served(project, 2_000)
        project.send([event("last", NOON + 2_000)])
        served(project, 2_001)
        [ended] = [e for e in engines if e.process.poll() is not None]
        assert ended.process.returncode == 2
        assert "another engine is in the group" in ended.said()
        [serving] = [e for e in engines if e is not ended]
        assert serving.stop() == 0, serving.said()
    finally:
        for each in engines:
            each.kill()
    assert set(Counter(p["id"] for p in project.values("predictions")).values()) == {1}
