"""What the dashboard asks the broker: little, and the same for all windows."""

from collections import Counter
from typing import Any

from harness import PATIENCE, Project, free_ports, lag, run_flow, wait_until
from made_flights import traffic

from flows.core.stream.broker import Broker
from flows.runtime.runner import FLOWS
from flows.serve.dashboard.flow_watch import EVERY, FlowWatch
from flows.serve.dashboard.offset_watch import SEARCH, OffsetWatch


class Counted:
    """A broker that counts its calls."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._broker, name)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_many_windows_ask_the_broker_as_often_as_one(project: Project) -> None:
    clock = Clock()
    engine = project.with_settings(HTTP_PORT=0).engine()
    watch = FlowWatch(engine, clock)
    with project.broker() as opened:
        broker: Any = Counted(opened)
        first = watch.look(broker)
        asked = broker.calls.total()
        project.send(traffic(5))
        assert watch.look(broker) == first
        clock.now += EVERY - 0.1
        assert watch.look(broker) == first
        assert broker.calls.total() == asked
        clock.now += 0.1
        assert watch.look(broker)["events"] == 5
        assert broker.calls.total() > asked


def test_a_look_asks_for_the_topics_that_a_flow_reads_only(project: Project) -> None:
    project.send(traffic(20))
    engine = project.engine()
    run_flow(engine, "predict")
    watch = OffsetWatch(engine.pipeline)
    with project.broker() as opened:
        broker: Any = Counted(opened)
        first = watch.read(broker, 0.0)
        group, topics = engine.pipeline.group("predict"), len(engine.pipeline.topics)
        read = sum(bool(opened.committed(group, topic)) for topic in engine.pipeline.topics)
        assert 0 < read < topics
        assert broker.calls == {"offsets": topics, "committed": len(FLOWS) * topics, "ends": 1}
        broker.calls.clear()
        assert watch.read(broker, SEARCH - 0.1) == first
        not_begun = len(FLOWS) - 1
        assert broker.calls == {"committed": read + not_begun * topics, "ends": 1}
        broker.calls.clear()
        assert watch.read(broker, SEARCH) == first
        assert broker.calls["offsets"] == topics


def test_a_flow_that_begins_is_seen_at_once(project: Project) -> None:
    engine = project.engine()
    watch = OffsetWatch(engine.pipeline)
    with project.broker() as broker:
        assert watch.read(broker, 0.0).read["predict"] == {}
        project.send(traffic(20))
        run_flow(engine, "predict")
        events = engine.pipeline.events.topic
        assert watch.read(broker, 1.0).read["predict"][events] == 20
        assert watch.read(broker, 1.0).counts[events] == 20


def test_the_offsets_are_those_of_the_broker(project_on: Project) -> None:
    engine = project_on.engine()
    group, watch = engine.pipeline.group("predict"), OffsetWatch(engine.pipeline)
    with project_on.broker() as broker, project_on.with_settings(HTTP_PORT=0).flows("predict"):
        watch.read(broker, 0.0)
        project_on.send(traffic(30))
        wait_until(lambda: lag(broker, engine, "predict") == 0, PATIENCE)
        seen = watch.read(broker, 1.0)
        streams = [stream.topic for stream in engine.pipeline.feature_streams]
        assert seen.counts[engine.pipeline.events.topic] == 30
        assert {topic: seen.ends[topic] for topic in streams} == {
            topic: sum(broker.committed(group, topic).values()) for topic in streams
        }
        assert {topic: seen.read["predict"][topic] for topic in streams} == {t: seen.ends[t] for t in streams}


def test_a_flow_on_another_host_is_asked_there(project: Project) -> None:
    there = project.with_settings(HTTP_HOST="127.0.0.2", HTTP_PORT=free_ports(len(FLOWS)))
    here = there.with_settings(HTTP_HOST="127.0.0.1")
    asks = here.with_settings(FLOWS_HOST="127.0.0.2")
    with project.broker() as broker, there.flows("predict"):
        wait_until(lambda: predict(FlowWatch(asks.engine()), broker)["state"] == "running", PATIENCE)
        assert predict(FlowWatch(here.engine()), broker)["state"] == "stopped"


def predict(watch: FlowWatch, broker: Broker) -> dict[str, Any]:
    """Return what the watch says of the predict flow."""
    found: dict[str, Any] = next(each for each in watch.look(broker)["flows"] if each["flow"] == "predict")
    return found
