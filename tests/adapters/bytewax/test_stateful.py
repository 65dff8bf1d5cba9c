"""Steps with a state that is too large for the recovery store, and with timers."""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from bytewax.testing import TestingSink, TestingSource

from flows.adapters.bytewax import stateful as module
from flows.adapters.bytewax.idle import Idle
from flows.adapters.bytewax.source import MergedSource, SourceSettings
from flows.adapters.bytewax.stateful import stateful, timed_stateful
from flows.adapters.sqlite.log import LogBroker
from flows.core.stream.broker import Outgoing, TopicSpec
from flows.core.stream.drain import Drain
from flows.errors import StateTooLarge
from flows.runtime.telemetry import Telemetry


class Keeper:
    """Keeps all its input."""

    def __init__(self, state: bytes | None) -> None:
        self.kept = state or b""

    def take(self, values: list[bytes]) -> list[bytes]:
        self.kept += b"".join(values)
        return values

    def snapshot(self) -> bytes:
        return self.kept


def run(directory, values: list[bytes]) -> None:
    dataflow = Dataflow("flow")
    items = op.input("items", dataflow, TestingSource([("key", value) for value in values]))
    op.output("out", stateful("keep", items, Keeper), TestingSink([]))
    cli_main(dataflow, recovery_config=RecoveryConfig(directory))


def test_a_state_that_is_too_large_for_the_store_is_told_with_its_step_and_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 10)
    init_db_dir(tmp_path, 1)
    run(tmp_path, [b"12345", b"67890"])
    with pytest.raises(BytewaxRuntimeError) as caught:
        run(tmp_path, [b"12345", b"67890", b"!"])  # the source goes on behind the second
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, StateTooLarge):
        error = error.__cause__ or error.__context__
    assert "'keep' has 11 bytes under one key, and the recovery store takes 10" in str(error)
    assert "max_pending" in str(error)


class Alarm:
    """Rings a moment after its first records, and drains the flow then."""

    def __init__(self, drain: Drain) -> None:
        self.drain = drain
        self.at: datetime | None = None
        self.late: float | None = None

    def take(self, _values: list) -> list:
        self.at = datetime.now(UTC) + timedelta(seconds=0.05)
        return []

    def due(self) -> datetime | None:
        return self.at

    def wake(self) -> list:
        if self.at is not None and self.late is None:
            self.late = (datetime.now(UTC) - self.at).total_seconds()
        self.at = None
        self.drain.set()
        return []

    def snapshot(self) -> bytes:
        return b""


def test_a_timer_wakes_a_flow_that_would_sleep_for_minutes(tmp_path: Path) -> None:
    def open_log() -> LogBroker:
        return LogBroker(tmp_path / "log.db")

    with closing(open_log()) as log, closing(log.producer()) as producer:
        log.create_topics([TopicSpec("events")])
        producer.send([Outgoing("events", b"{}", timestamp=1)])
    drain, idle = Drain(), Idle(600.0)
    alarm = Alarm(drain)
    dataflow = Dataflow("flow")
    source = MergedSource(open_log, SourceSettings("group", ["events"]), Telemetry(), drain, idle)
    rung = timed_stateful("ring", op.input("records", dataflow, source), lambda _: alarm, idle)
    op.output("out", rung, TestingSink([]))
    begin = time.monotonic()
    cli_main(dataflow)
    assert time.monotonic() - begin < 300
    assert alarm.late is not None
    assert alarm.late >= 0
