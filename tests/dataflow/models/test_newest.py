"""What an export reads from the end of the topics."""

from pathlib import Path

import orjson
import pytest
from answered import encode
from harness import Project
from made_flights import MINUTE, NOON
from made_numbers import project_in

from flows.core.models.model import Prediction
from flows.core.registry.entry import Change, Entry
from flows.core.registry.registry import RegisteredVersion, VersionRole
from flows.core.stream.broker import Outgoing, TopicPartition, TopicSpec
from flows.core.stream.times import iso
from flows.jobs.models.newest import last_assessment, newest_first, served_rows

PREDICTIONS = 2300  # several blocks of a partition
MOST = 1000


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project whose predictions topic has two partitions."""
    made = project_in(tmp_path / "project")
    with made.broker() as broker:
        broker.delete_topics(["numbers.predictions"])
        broker.create_topics([TopicSpec("numbers.predictions", 2)])
    return made


def served(number: int, plan: str) -> Outgoing:
    prediction = Prediction(f"P{number}", NOON + number * MINUTE, 0.5, "v1", {}, [float(number)] * 5)
    return encode("numbers.predictions", number % 2, prediction, plan)


def test_the_last_rows_of_the_plan_are_read_from_all_partitions_in_event_time_order(project: Project) -> None:
    running = project.engine()
    plan = running.state.plan()
    project.send([served(number, plan.hash) for number in range(PREDICTIONS)])
    project.send([served(PREDICTIONS + number, "another") for number in range(50)])
    project.send([Outgoing("numbers.predictions", b"foreign", partition=0, timestamp=NOON)])
    with project.broker() as broker:
        rows = served_rows(running.pipeline, plan, broker, MOST)
    assert rows == [[float(number)] * 5 for number in range(PREDICTIONS - MOST, PREDICTIONS)]


def test_records_are_yielded_backwards_from_the_end_to_the_start(project: Project) -> None:
    project.send([served(2 * number, "plan") for number in range(PREDICTIONS)])
    with project.broker() as broker:
        records = newest_first(broker, TopicPartition("numbers.predictions", 0), 17, 2100)
        assert [record.offset for record in records] == list(range(2099, 16, -1))


def assessment(version: str, labels: int) -> Outgoing:
    body = {"model": version, "labels": labels, "metrics": {}, "assessment": {"recent": {}}}
    return Outgoing("numbers.metrics", orjson.dumps(body), timestamp=NOON + labels)


def version(name: str, *changes: tuple[Change, int], role: VersionRole = "shadow") -> RegisteredVersion:
    """Return a version with entries about these changes, each with its milliseconds after noon."""
    entries = [
        Entry("", "numbers", 0, "", iso(NOON + at), at, change, name, "", "") for change, at in changes
    ]
    return RegisteredVersion(name, role, entries)


def test_the_last_assessment_is_the_one_while_the_version_served(project: Project) -> None:
    plain = Outgoing("numbers.metrics", orjson.dumps({"model": "v1", "labels": 15}), timestamp=NOON + 15)
    foreign = Outgoing("numbers.metrics", b"{", timestamp=NOON + 16)
    records = [assessment("v1", 5), assessment("v1", 10), plain, foreign, assessment("v2", 20)]
    project.send([*records, assessment("v1", 30)])  # a learner that started over
    served: list[tuple[Change, int]] = [("born", 0), ("promoted", 0)]
    cases = [
        (version("v1", *served, ("retired", 20), role="retired"), 10),
        (version("v1", *served, role="champion"), 30),
        (version("v2", *served, role="champion"), 20),
        (version("v2", *served, ("demoted", 21)), 20),  # in the shadow of its successor
        (version("v2", ("born", 21), ("promoted", 21), role="champion"), None),  # another one, of a new log
        (version("v2", ("born", 0), role="challenger"), None),
    ]
    pipeline = project.engine().pipeline
    with project.broker() as broker:
        found = [last_assessment(pipeline, broker, each) for each, _ in cases]
    assert [body and body["labels"] for body in found] == [labels for _, labels in cases]
