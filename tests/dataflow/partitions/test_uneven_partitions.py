"""Topics with different numbers of partitions, read by fewer and by more workers than slots."""

from collections import Counter
from functools import partial
from pathlib import Path

import bytewax.run
import pytest
from harness import Project, run_flow
from made_flights import HOUR, NOON, label
from made_parted import flights, in_partitions, served

from flows.core.stream.broker import TopicSpec

FLIGHTS = 60
FEWER = {"flight_labels": 2, "parted.models": 1, "parted.metrics": 1}  # than the three slots


@pytest.fixture
def uneven(project: Project) -> Project:
    project = in_partitions(project)
    running = project.engine()
    with project.broker() as broker:
        broker.delete_topics(running.pipeline.topics)
        broker.create_topics([TopicSpec(name, FEWER.get(name, 3)) for name in running.pipeline.topics])
    project.send(flights(0, FLIGHTS))
    project.send([label(f"F{n:05}", NOON + 8 * HOUR, n % 2 == 0) for n in range(FLIGHTS)])
    return project


def run(project: Project, flow: str, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        run_of_bytewax = partial(bytewax.run.cli_main, workers_per_process=workers)
        patched.setattr(bytewax.run, "cli_main", run_of_bytewax)
        run_flow(project.engine(), flow)


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_serves_what_one_does_and_learns_each_label_once(
    uneven: Project, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = uneven.copy_to(tmp_path / "alone")
    run(alone, "predict", 1, monkeypatch)
    for flow in ("predict", "learn"):
        run(uneven, flow, workers, monkeypatch)
    assert served(uneven) == served(alone)
    assert Counter(p["id"] for p in uneven.values("predictions")) == dict.fromkeys(served(alone), 1)
    assert len(served(alone)) == FLIGHTS
    assert [m for m in uneven.values("metrics") if "labels" in m][-1]["labels"] == FLIGHTS
    assert uneven.records("dead-letters") == []
