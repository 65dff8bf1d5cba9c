"""A slot of a source on the embedded log: when it rests."""

import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.adapters.bytewax_io import Inputs, MergedSource
from flows.adapters.log import LogBroker
from flows.core.broker import Outgoing, TopicSpec
from flows.wiring import Telemetry


def test_a_source_with_a_pace_rests_when_it_has_caught_up_and_not_before(tmp_path: Path) -> None:
    def open_log() -> LogBroker:
        return LogBroker(tmp_path / "log.db")

    with closing(open_log()) as log, closing(log.producer()) as producer:
        log.create_topics([TopicSpec("events")])
        producer.send([Outgoing("events", b"{}", timestamp=1) for _ in range(25)])
    drain = threading.Event()
    source = MergedSource(open_log, "group", Inputs(["events"]), 1, 10, Telemetry(), drain, pace=0.3)
    with closing(source.build_part("records", "0", None)) as slot, closing(open_log().producer()) as producer:
        assert [len(records) for _ in range(3) for _, records in slot.next_batch()] == [10, 10, 5]
        caught_up = time.monotonic()
        producer.send([Outgoing("events", b"{}", timestamp=1)])
        while not (batches := list(slot.next_batch())):
            pass
        assert [len(records) for _, records in batches] == [1]
        assert 0.25 < time.monotonic() - caught_up < 10.0


def test_a_clock_that_is_set_back_wakes_the_steps_once_and_nothing_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(LogBroker(tmp_path / "log.db")) as log:
        log.create_topics([TopicSpec("events")])
    drain = threading.Event()
    source = MergedSource(
        lambda: LogBroker(tmp_path / "log.db"), "group", Inputs(["events"]), 1, 10, Telemetry(), drain
    )
    with closing(source.build_part("records", "0", None)) as slot:
        assert list(slot.next_batch()) == []
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        assert slot.next_awake() < datetime.now(UTC) - timedelta(hours=1)
        assert [list(slot.next_batch()) for _ in range(2)] == [[("0", [])], []]
