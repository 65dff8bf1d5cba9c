"""One slot of the source on the embedded log: reading, pausing, waking."""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from harness import wait_until

from flows.adapters.bytewax import source as source_module
from flows.adapters.bytewax.idle import SHORT, Idle
from flows.adapters.bytewax.source import MergedSource, SourceSettings
from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import Outgoing, TopicPartition, TopicSpec
from flows.core.stream.drain import Drain
from flows.core.stream.merge import size_of
from flows.errors import OffsetExpired
from flows.runtime.telemetry import Telemetry


def test_a_source_with_a_pace_rests_when_it_has_caught_up_and_not_before(tmp_path: Path) -> None:
    def open_log() -> LogBroker:
        return LogBroker(tmp_path / "log.db")

    with closing(open_log()) as log, closing(log.producer()) as producer:
        log.create_topics([TopicSpec("events")])
        producer.send([Outgoing("events", b"{}", timestamp=1) for _ in range(25)])
    drain = Drain()
    source = MergedSource(
        open_log, SourceSettings("group", ["events"], batch=10, pace=0.3), Telemetry(), drain, Idle(SHORT)
    )
    with closing(source.build_part("records", "0", None)) as slot, closing(open_log().producer()) as producer:
        assert [len(records) for _ in range(3) for _, records in slot.next_batch()] == [10, 10, 5]
        caught_up = time.monotonic()
        producer.send([Outgoing("events", b"{}", timestamp=1)])
        while not (batches := list(slot.next_batch())):
            pass
        assert [len(records) for _, records in batches] == [1]
        assert 0.25 < time.monotonic() - caught_up < 10.0


def test_a_stored_offset_that_is_not_in_the_log_is_told_with_what_to_do(tmp_path: Path) -> None:
    def open_log() -> LogBroker:
        return LogBroker(tmp_path / "log.db")

    with closing(open_log()) as log:
        log.create_topics([TopicSpec("events")])
    settings = SourceSettings("group", ["events"], batch=10)
    source = MergedSource(open_log, settings, Telemetry(), Drain(), Idle(SHORT))
    advice = r"offset 5 of events\[0\] .* 0 to 0 of it.* stop all flows and remove the pipeline's folder"
    slot = source.build_part("records", "0", {"events/0": 5})
    with closing(slot), pytest.raises(OffsetExpired, match=advice):
        slot.next_batch()


def test_a_clock_that_is_set_back_wakes_the_steps_once_and_nothing_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(LogBroker(tmp_path / "log.db")) as log:
        log.create_topics([TopicSpec("events")])
    drain = Drain()
    source = MergedSource(
        lambda: LogBroker(tmp_path / "log.db"),
        SourceSettings("group", ["events"], batch=10),
        Telemetry(),
        drain,
        Idle(SHORT),
    )
    with closing(source.build_part("records", "0", None)) as slot:
        assert list(slot.next_batch()) == []
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        assert slot.next_awake() < datetime.now(UTC) - timedelta(hours=1)
        assert [list(slot.next_batch()) for _ in range(2)] == [[("0", [])], []]


def test_what_a_slot_holds_of_large_records_is_bounded_also_where_one_topic_waits_for_another(
    tmp_path: Path,
) -> None:
    """Each partition may have its buffer and one poll; without a bound in bytes all 96 MB would be read."""
    record, count = 64 * 2**10, 512

    def open_log() -> LogBroker:
        return LogBroker(tmp_path / "log.db")

    with closing(open_log()) as log, closing(log.producer()) as producer:
        log.create_topics([TopicSpec(topic) for topic in ("a", "b", "c")])
        for topic, first in (("a", 0), ("b", 10_000), ("c", 20_000)):  # b and c wait for all of a
            producer.send([Outgoing(topic, bytes(record), timestamp=first + n) for n in range(count)])
    source = MergedSource(
        open_log, SourceSettings("group", ["a", "b", "c"], batch=1000), Telemetry(), Drain(), Idle(SHORT)
    )
    read, most = list[tuple[str, int]](), 0
    with closing(source.build_part("records", "0", None)) as slot:
        while len(read) < 3 * count:
            for _, records in slot.next_batch():
                assert sum(map(size_of, records)) <= 8 * 2**20
                read += [(r.topic, r.offset) for r in records]
            most = max(most, slot.buffered_bytes())
    assert read == [(topic, offset) for topic in "abc" for offset in range(count)]
    assert 8 * 2**20 < most <= 3 * 8 * 2**20 + 16 * 2**20


def test_an_idle_source_repairs_offsets_that_a_late_commit_has_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "RECOMMIT_EVERY", 0.05)

    def open_log() -> LogBroker:
        return LogBroker(tmp_path / "log.db")

    with closing(open_log()) as log, closing(log.producer()) as producer:
        log.create_topics([TopicSpec("events")])
        producer.send([Outgoing("events", b"{}", timestamp=1) for _ in range(3)])
    source = MergedSource(
        open_log, SourceSettings("group", ["events"], batch=10), Telemetry(), Drain(), Idle(SHORT)
    )
    with closing(source.build_part("records", "0", None)) as slot, closing(open_log()) as log:

        def committed() -> dict[int, int]:
            list(slot.next_batch())
            return log.committed("group", "events")

        wait_until(lambda: committed() == {0: 3})
        begin = {TopicPartition("events", 0): 0}
        with closing(log.consumer("group", begin)) as late:
            late.commit(begin)
        wait_until(lambda: committed() == {0: 3})
