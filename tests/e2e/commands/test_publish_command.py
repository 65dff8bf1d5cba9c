"""`driftline publish`: what it refuses, what it waits for, and a whole replay."""

import shutil
from collections import Counter
from collections.abc import Callable

import answered
import made_flights
import made_minutes
import orjson
import pytest
from click.testing import Result
from harness import DRIFTLINE, PATIENCE, KafkaNode, Project, wait_until
from made_flights import HOUR, MINUTE, NOON, event_payload
from typer.testing import CliRunner

from flows.cli.app import app
from flows.errors import ConfigError, DriftlineError
from flows.host import patience
from flows.jobs.publishing import bounded_lag

Said = Callable[..., Result]


@pytest.fixture
def said(project: Project, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Return a function that runs `driftline publish` in this process, because a start takes seconds."""
    monkeypatch.chdir(project.directory)
    return lambda *arguments: CliRunner().invoke(app, ["publish", *arguments])


def flights_file(project: Project, flights: int, apart: int = MINUTE) -> str:
    lines = [orjson.dumps(event_payload(f"F{n:05}", NOON + n * apart)) for n in range(flights)]
    (project.directory / "flights.jsonl").write_bytes(b"\n".join(lines))
    return "flights.jsonl"


def test_a_file_with_bad_records_is_refused_with_lines_and_faults_before_anything_is_sent(
    project: Project, said: Said
) -> None:
    file = project.directory / flights_file(project, 3)
    file.write_bytes(file.read_bytes() + b'\n{"flight_id": "F9"}\nnot json\n')
    told = said(file.name)
    assert isinstance(told.exception, ConfigError)
    line = str(told.exception)
    assert "2 of 5 records would become dead letters: line 4: field" in line
    assert "; line 5: " in line
    assert "Nothing was published; correct them, or publish them as they are with --unchecked" in line
    assert project.records("flights") == []

    sent = said(file.name, "--unchecked")
    assert sent.exit_code == 0
    assert sent.stdout == "published 5 events, 0 labels, 0 source records\n"
    assert [record.value for record in project.records("flights")][3:] == [
        b'{"flight_id": "F9"}',
        b"not json",
    ]


def test_flows_that_do_not_run_are_told_and_end_the_command_with_what_was_sent(
    project: Project, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SAID_AFTER", 0.1)
    monkeypatch.setattr(bounded_lag, "_STOPPED", 0.3)
    told = said(flights_file(project, 20, apart=HOUR))
    assert (
        "waiting: predict is not running and has not read topic 'flights'; start `driftline run`"
        in told.stderr
    )
    assert isinstance(told.exception, DriftlineError)
    assert "predict is not running" in str(told.exception)
    assert told.stdout == "published 7 events, 0 labels, 0 source records\n"
    assert len(project.records("flights")) == 7  # what comes within 6 hours, the bound


def test_a_replay_with_labels_after_minutes_is_served_as_the_backtest_says(project: Project) -> None:
    for module in (answered, made_minutes, made_flights):
        shutil.copy(module.__file__, project.directory)
    declared = project.directory / "driftline.toml"
    declared.write_text(declared.read_text().replace("flows.pipelines.flight_delays", "made_minutes"))
    expected = orjson.loads(project.run("backtest", "--json").stdout)
    project = project.with_settings(HTTP_PORT=0, MODEL_SECONDS=0.01)
    with project.flows("predict", "learn") as running:
        published = project.run("publish")
        assert published.returncode == 0, published.stderr
        assert published.stdout == "published 200 events, 200 labels, 0 source records\n"
        assert "labels take 0:05:00, so the flows may lag by 0:00:38 of event time" in published.stderr
        wait_until(lambda: learned(project) == 200, PATIENCE)
        assert running.stop() == 0, running.said()
    served = project.values("metrics")[-1]["metrics"]["model"]
    assert served == pytest.approx(expected["metrics"]["model"], rel=1e-9)


def learned(project: Project) -> int:
    metrics = project.values("metrics")
    return metrics[-1]["labels"] if metrics else 0


def test_a_kafka_that_is_killed_while_it_is_published_to_loses_and_repeats_nothing(
    project: Project, kafka_node: Callable[[], KafkaNode]
) -> None:
    node, flights = kafka_node(), 20_000
    project = project.on_kafka(node.address)
    file = flights_file(project, flights, apart=100)
    publisher = project.start(DRIFTLINE, "publish", file, "--speed-up", "250")
    try:
        for kills in (1, 2):
            wait_until(lambda: sent(project) > kills * 4_000, PATIENCE)  # noqa: B023 (called at once)
            node.kill()
            node.command("start")
        assert publisher.process.wait(PATIENCE) == 0, publisher.said()
    finally:
        publisher.kill()
    assert "published 20,000 events, 0 labels, 0 source records" in publisher.said()
    assert "Traceback" not in publisher.said()
    counted = Counter(record.key for record in project.records("flights"))
    assert (len(counted), set(counted.values())) == (flights, {1})


def sent(project: Project) -> int:
    with project.broker() as broker:
        return sum(end for _, end in broker.offsets("flights"))
