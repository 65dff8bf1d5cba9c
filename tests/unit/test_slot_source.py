"""A slot of a source on the embedded log: when it rests."""

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
    source = MergedSource(open_log, "group", Inputs(["events"]), 1, 10, Telemetry(), drain, pace=60.0)
    with closing(source.build_part("records", "0", None)) as slot:
        read = []
        for _ in range(3):
            assert slot.next_awake() is None
            read += [len(records) for _, records in slot.next_batch()]
        assert read == [10, 10, 5]
        rest = slot.next_awake() - datetime.now(UTC)
        assert timedelta(seconds=30) < rest <= timedelta(seconds=60)
