"""The map of feature drift over several partitions, read piece by piece, is that of the learn flow."""

from contextlib import closing

import pytest
from harness import Project, run_flow
from moved_flights import MOVED, WINDOW, moved_flights

from flows.core.drift.monitor import PREDICTION_BATCH
from flows.runtime.engine import Engine
from flows.serve.dashboard import drift_map
from flows.serve.dashboard.drift_map import DriftMap
from flows.serve.dashboard.merged_reader import MergedReader

FLIGHTS = MOVED + WINDOW + PREDICTION_BATCH


@pytest.fixture
def parted(project: Project) -> Engine:
    """Return an engine with two partitions, to which predictions were written by turns."""
    running = project.engine(partitions=2)
    with closing(running.open_broker()) as broker:
        broker.delete_topics(running.pipeline.topics)
        broker.create_topics(running.pipeline.topic_specs())
    records = moved_flights(running, FLIGHTS)
    project.send([record._replace(partition=n * 7 % 5 % 2) for n, record in enumerate(records)])
    return running


def test_the_figures_are_those_of_the_signal_of_the_learn_flow(project: Project, parted: Engine) -> None:
    run_flow(parted, "learn")
    (signal,) = [each for each in project.values("drift") if each["type"].endswith("feature")]
    shown = DriftMap(parted)
    with closing(parted.open_broker()) as broker:
        found = shown.read(broker)
        assert (found["predictions"], found["windows"]) == (drift_map._AT_ONCE, found["windows"][:1])
        while found["unread"]:
            found = shown.read(broker)
    last = found["windows"][-1]
    assert found["predictions"] == FLIGHTS
    assert (last["since"], last["until"]) == (signal["data"]["since"], signal["time"])
    psi = {each["name"]: each["psi"] for each in signal["data"]["columns"]}
    shown_psi = dict(zip(found["columns"], last["psi"], strict=True))
    assert {name: shown_psi[name] for name in psi} == pytest.approx(psi, abs=1e-6)


def test_a_topic_is_read_in_the_order_of_time_and_each_record_once(project: Project, parted: Engine) -> None:
    reader, times = MergedReader(parted.pipeline.topic("predictions"), FLIGHTS), []
    with closing(parted.open_broker()) as broker:
        while records := reader.new_records(broker, 1000):
            times += [record.timestamp for record in records]
            assert reader.unread == FLIGHTS - len(times)
        project.send([record._replace(partition=1) for record in moved_flights(parted, 3)])
        assert len(reader.new_records(broker, 1000)) == 3
        assert not reader.has_begun_again
    assert times == sorted(times)
    assert len(times) == FLIGHTS
    assert reader.is_complete


def test_of_a_long_topic_only_the_last_records_are_read(parted: Engine) -> None:
    reader = MergedReader(parted.pipeline.topic("predictions"), 100)
    with closing(parted.open_broker()) as broker:
        assert len(reader.new_records(broker, 1000)) == 200
    assert not reader.is_complete


def test_a_topic_that_was_made_again_is_a_new_map(project: Project, parted: Engine) -> None:
    shown = DriftMap(parted)
    with closing(parted.open_broker()) as broker:
        shown.read(broker)
        broker.delete_topics(parted.pipeline.topics)
        broker.create_topics(parted.pipeline.topic_specs())
        assert shown.read(broker)["predictions"] == 0
        project.send(moved_flights(parted, 10))
        assert shown.read(broker)["predictions"] == 10
