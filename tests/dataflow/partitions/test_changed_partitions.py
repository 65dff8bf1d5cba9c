"""A change of the declared `partitions` with existing topics and states."""

from collections import Counter

import pytest
from harness import Project, run_flow
from made_flights import HOUR, NOON, label
from made_parted import MODULE, flights, in_partitions

from flows.core.stream.broker import Outgoing
from flows.errors import ConfigError
from flows.runtime.engine import Engine
from flows.runtime.topics import check, check_slots, make

INPUTS = ("flights", "departures", "arrivals", "flight_labels")


def declare(project: Project, partitions: int) -> Engine:
    """Return the engine of the pipeline with this number of partitions, as commands see it."""
    (project.directory / "three.py").write_text(MODULE.replace("partitions=3", f"partitions={partitions}"))
    return project.engine(partitions=partitions)


def on_first(records: list[Outgoing]) -> list[Outgoing]:
    return [record._replace(partition=0) for record in records]


def without_topics(project: Project) -> Project:
    """The example in partitions, of which no topic is there yet."""
    parted = in_partitions(project)
    with parted.broker() as broker:
        broker.delete_topics(parted.engine().pipeline.topics)
    return parted


def made(project: Project, running: Engine) -> list[str]:
    with project.broker() as broker:
        return make(running.pipeline, broker).remarks


def counts(project: Project, running: Engine) -> dict[str, int]:
    with project.broker() as broker:
        return broker.existing(running.pipeline.topics)


def test_empty_topics_and_those_of_the_engine_are_enlarged_and_the_flows_go_on(project_on: Project) -> None:
    parted = without_topics(project_on)
    one, three = declare(parted, 1), declare(parted, 3)
    assert made(parted, one) == []
    parted.send(on_first(flights(0, 10)))
    for flow in ("predict", "learn"):
        run_flow(one, flow)
    remarks = made(parted, three)
    grown = [*INPUTS[2:], *(topic for topic in three.pipeline.topics if topic.startswith("parted."))]
    assert remarks[-len(grown) :] == [f"topic {name!r} has 3 partitions now instead of 1" for name in grown]
    assert counts(parted, three) == {n: 1 if n in INPUTS[:2] else 3 for n in three.pipeline.topics}
    assert remarks[0].startswith("topic 'flights' keeps its 1 of partitions=3: it holds records")
    assert remarks[0].endswith("Slots 1 to 2 read none of it")

    parted.send(on_first(flights(10, 20)))
    parted.send([label(f"F{n:05}", NOON + 8 * HOUR, n % 2 == 0) for n in range(20)])
    for flow in ("predict", "learn"):
        run_flow(three, flow)
    assert Counter(p["id"] for p in parted.values("predictions")) == {f"F{n:05}": 1 for n in range(20)}
    assert [m for m in parted.values("metrics") if "labels" in m][-1]["labels"] == 20
    assert made(parted, three)[0] == remarks[0]
    assert three.state.shards(3).number == one.state.shards(1).number == 1  # as the entities are stored


def test_fewer_partitions_than_the_topics_or_the_state_have_are_refused_in_a_line(project: Project) -> None:
    parted = without_topics(project)
    three = declare(parted, 3)
    made(parted, three)
    parted.send(flights(0, 9))
    run_flow(three, "predict")
    one = declare(parted, 1)
    for command in (["apply"], ["run", "predict"]):
        outcome = parted.run(*command, HTTP_PORT="0")
        assert outcome.returncode == 2, outcome.stderr
        assert "RuntimeError" not in outcome.stderr
        assert "the state of flow 'predict' was stored with partitions=3" in outcome.stderr
        assert "declare partitions=3 again, or start over" in outcome.stderr
    with pytest.raises(ConfigError, match="stored with partitions=3"):
        run_flow(one, "predict")
    with parted.broker() as broker, pytest.raises(ConfigError, match=r"'parted\.[\w-]+' has 3 partitions"):
        check(one.pipeline, one.state, broker, [])
    parted.send(flights(9, 12))
    run_flow(declare(parted, 3), "predict")
    assert Counter(p["id"] for p in parted.values("predictions")) == {f"F{n:05}": 1 for n in range(12)}


def test_partitions_that_another_slot_would_read_again_are_refused(project: Project) -> None:
    parted = without_topics(project)
    three = declare(parted, 3)
    made(parted, three)
    parted.send(flights(0, 9))
    with_two = declare(parted, 2)
    run_flow(with_two, "predict")
    with pytest.raises(ConfigError, match=r"another slot of flow 'predict' would read \w+\[2\] again"):
        check_slots(three.pipeline, three.state, "predict")
    check_slots(with_two.pipeline, with_two.state, "predict")
    check_slots(three.pipeline, three.state, "learn")
