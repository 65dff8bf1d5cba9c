"""Publishing in event-time order, on the embedded log, with simulated flows."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from river import linear_model

from flows.adapters.sqlite.log import LogBroker
from flows.cli import publish as cli_publish
from flows.core.features.plan import LATENESS
from flows.core.serving.prediction_message import PUBLISHED_AT
from flows.core.stream.broker import Outgoing, Record, TopicPartition, TopicSpec, read_range
from flows.core.stream.fields import Flag, Key, Text, Time
from flows.errors import ConfigError, DriftlineError
from flows.host import patience
from flows.host.patience import Patience
from flows.jobs.publishing import bounded_lag, publisher
from flows.jobs.publishing import pace as pace_module
from flows.jobs.publishing.bounded_lag import BoundedLag, default_step
from flows.jobs.publishing.pace import SpeedUp
from flows.jobs.publishing.publisher import publish
from flows.jobs.publishing.records import FileRecords
from flows.jobs.publishing.survey import Survey, survey
from flows.pipeline import Pipeline, Stream

FIELDS = {"id": Text(), "at": Time()}
SHOP = Pipeline(
    name="fraud",
    events=Stream("sales", "id", "at", FIELDS),
    labels=Stream("chargebacks", "id", "at", {**FIELDS, "fraud": Flag()}),
    sources=(Stream("visits", "id", "at", FIELDS),),
    target="fraud",
    entities=("customer",),
    service="shop",
    model=linear_model.LogisticRegression,
    partitions=2,
)
TOPICS = ("visits", "sales", "chargebacks")
START = 1_357_035_300_000
SECOND = 1000
READERS = {"sales": "driftline.fraud.predict", "chargebacks": "driftline.fraud.learn"}


def record(topic: str, second: int, name: str = "") -> Outgoing:
    key = f"{topic}-{second}-{name}".encode()
    return Outgoing(topic, b'{"id": "%s"}' % key, key, timestamp=START + second * SECOND)


def hour() -> list[Outgoing]:
    """A visit and a sale every second, each with its chargeback 90 seconds later."""
    rows = [
        record(topic, second + delay)
        for second in range(1200)
        for topic, delay in (("visits", 0), ("sales", 0), ("chargebacks", 90))
    ]
    return sorted(rows, key=lambda r: (r.timestamp, TOPICS.index(r.topic)))


class Flows(LogBroker):
    """The log, and flows beside it that read `pace` records on and commit whenever their offsets are asked.

    `sends` remembers of each send its records and how much of each watched topic was read by then.
    """

    def __init__(self, path: Path, pace: int = 10**9) -> None:
        super().__init__(path)
        self.create_topics([TopicSpec(topic, SHOP.partitions) for topic in TOPICS])
        self.sends: list[tuple[list[Outgoing], dict[str, int]]] = []
        self.pace = pace

    def committed(self, group: str, topic: str) -> dict[int, int]:
        assert READERS[topic] == group
        done = super().committed(group, topic)
        ends = {number: end for number, (_, end) in enumerate(self.offsets(topic))}
        after = {
            TopicPartition(topic, p): min(end, done.get(p, 0) + self.pace) for p, end in ends.items() if end
        }
        if after:
            consumer = self.consumer(group, after)
            consumer.commit(after)
            consumer.close()
        return super().committed(group, topic)

    def read(self) -> dict[str, int]:
        return {
            topic: sum(super(Flows, self).committed(group, topic).values())
            for topic, group in READERS.items()
        }

    def producer(self) -> Any:
        real = super().producer()

        def send(records: list[Outgoing]) -> Mapping[TopicPartition, int]:
            self.sends.append((records, self.read()))
            return real.send(records)

        return SimpleNamespace(send=send, close=real.close)

    def log(self, topic: str) -> list[Record]:
        return [
            r
            for number, (start, end) in enumerate(self.offsets(topic))
            for batch in read_range(self, TopicPartition(topic, number), start, end)
            for r in batch
        ]


@pytest.fixture
def flows(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_lag, "_POLL", 0.0)
    broker = Flows(tmp_path / "log.db")
    yield broker
    broker.close()


def no_waiting(_: str) -> None:
    raise AssertionError("the flows moved")


def bound(flows: Flows, seconds: int) -> BoundedLag:
    return BoundedLag(flows, SHOP, seconds * SECOND, Patience(no_waiting), lambda _: True)


def send(broker: Any, records: Iterable[Outgoing], pace: Any, step: int) -> list[Outgoing]:
    """Publish the records; those that were sent, in order."""
    with closing(broker.producer()) as producer:
        return [record for sent in publish(producer, SHOP, records, pace, step) for record in sent]


def test_every_record_is_in_the_log_once_as_it_was_with_its_own_time(flows):
    rows = hour()
    assert len(send(flows, rows, bound(flows, 80), 10 * SECOND)) == len(rows)
    for topic in TOPICS:
        written = sorted((r.timestamp, r.key, r.value) for r in flows.log(topic))
        assert written == sorted((r.timestamp, r.key, r.value) for r in rows if r.topic == topic)


def test_each_partition_has_its_records_in_event_time_order(flows):
    send(flows, hour(), bound(flows, 80), 10 * SECOND)
    for topic in TOPICS:
        for number in range(SHOP.partitions):
            times = [r.timestamp for r in flows.log(topic) if r.partition == number]
            assert times == sorted(times)
            assert times


def test_only_events_say_when_they_were_published(flows, monkeypatch):
    monkeypatch.setattr(publisher.time, "time_ns", lambda: 1_700_000_000_123_456_789)
    send(flows, hour()[:50], bound(flows, 80), SECOND)
    headers = {topic: {r.headers for r in flows.log(topic)} for topic in TOPICS[:2]}
    assert headers == {"visits": {()}, "sales": {((PUBLISHED_AT, b"1700000000123456"),)}}


def test_of_a_chunk_the_sources_go_before_the_events_and_a_chunk_spans_at_most_a_step(flows):
    send(flows, hour(), bound(flows, 80), 10 * SECOND)
    sent = [[record for record in records if record.topic != "chargebacks"] for records, _ in flows.sends]
    for records in filter(None, sent):
        times = [record.timestamp for record in records]
        topics = [record.topic for record in records]
        assert max(times) - min(times) <= 10 * SECOND
        assert topics == sorted(topics, key=TOPICS.index)
    assert [r.key for records in sent for r in records if r.topic == "visits"] == [
        r.key for r in hour() if r.topic == "visits"
    ]


@pytest.mark.parametrize("pace", [1, 7, 10**9])
def test_a_label_goes_out_only_after_every_event_before_it_was_read(flows, pace):
    flows.pace = pace
    rows = hour()
    send(flows, rows, bound(flows, 80), 10 * SECOND)
    events = [r.timestamp for r in rows if r.topic == "sales"]
    for records, read in flows.sends:
        if records[0].topic == "chargebacks":
            assert read["sales"] >= sum(time <= records[0].timestamp for time in events)


@pytest.mark.parametrize("pace", [1, 7, 10**9])
def test_the_flows_stay_within_the_bound_of_event_time(flows, pace):
    flows.pace = pace
    send(flows, hour(), bound(flows, 80), 10 * SECOND)
    times: dict[str, list[int]] = {topic: [] for topic in TOPICS}
    for records, read in flows.sends:
        unread = [times[watched][read[watched]] for watched in READERS if read[watched] < len(times[watched])]
        if records[-1].topic == "sales":
            assert records[-1].timestamp - min(unread, default=START + 10**9) <= 80 * SECOND
        for record in records:
            times[record.topic].append(record.timestamp)


def test_flows_that_do_not_move_are_reported_once_and_then_waited_for(flows, monkeypatch):
    monkeypatch.setattr(patience, "SAID_AFTER", 0.0)
    flows.pace = 0
    said = []

    def waiting(line: str) -> None:
        said.append(line)
        flows.pace = 10**9

    pace = BoundedLag(flows, SHOP, 20 * SECOND, Patience(waiting), lambda _: False)
    send(flows, hour()[:900], pace, 5 * SECOND)
    assert said[0] == (
        "waiting: predict is not running and has not read topic 'sales'; start `driftline run`, or publish "
        "by the clock with --speed-up"
    )
    assert len(set(said)) == len(said) <= 2


@pytest.mark.parametrize(
    ("runs", "seconds", "reason"),
    [(False, "_STOPPED", "is not running and"), (True, "_STUCK", "is running but")],
)
def test_flows_that_never_move_end_the_publisher_with_the_flow_and_the_topic(
    flows, monkeypatch, runs, seconds, reason
):
    monkeypatch.setattr(patience, "SAID_AFTER", 0.0)
    monkeypatch.setattr(bounded_lag, seconds, 0.05)
    flows.pace, said = 0, list[str]()
    pace = BoundedLag(flows, SHOP, 20 * SECOND, Patience(said.append), lambda _: runs)
    with pytest.raises(DriftlineError, match=rf"no progress for 0 s: predict {reason} .*'sales'"):
        send(flows, hour(), pace, 5 * SECOND)
    assert len(said) == 1


class Serving:
    """A fake of the models in service, of which one is found only at the second look."""

    def __init__(self, flows: Flows) -> None:
        self.flows = flows
        self.asked: dict[int, int] = {}

    def has_learned(self, label_time: int) -> bool:
        self.asked[label_time] = self.asked.get(label_time, 0) + 1
        return self.asked[label_time] > 1


def test_the_models_in_service_stay_within_the_bound_too(flows):
    models = Serving(flows)
    pace = BoundedLag(flows, SHOP, 80 * SECOND, Patience(no_waiting), lambda _: True, models)
    send(flows, hour(), pace, 10 * SECOND)
    first_labels = {r[0].timestamp for r, _ in flows.sends if r[0].topic == "chargebacks"}
    assert models.asked.keys() <= first_labels
    assert len(models.asked) > 50
    assert set(models.asked.values()) == {2}


class Clock:
    """A fake of the time module, advanced by sleeping."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def time_ns(self) -> int:
        return int(self.now * 1e9)


def test_with_a_speed_up_event_time_passes_that_many_times_as_fast_as_the_clock(flows, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    rows = [record("sales", second) for second in (0, 30, 60, 600)]
    began, times = clock.now, []
    with closing(flows.producer()) as producer:
        for sent in publish(producer, SHOP, rows, SpeedUp(60), SECOND):
            times.append((len(sent), round(clock.now - began, 6)))
            clock.now += 0.2  # the rest of the program takes its time
    assert times == [(1, 0.0), (1, 0.5), (1, 1.0), (1, 10.0)]


def test_a_publisher_that_is_behind_its_speed_up_does_not_wait(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    pace = SpeedUp(1)
    assert pace.is_time(START, None)
    clock.now += 100
    assert pace.is_time(START + 30 * SECOND, None)
    assert not pace.is_time(START + 130 * SECOND, None)


def test_a_step_is_an_eighth_of_the_bound_at_least_a_millisecond_and_at_most_what_windows_keep():
    assert [default_step(b) for b in (80_000, 9, 1, 10**12)] == [10_000, 1, 1, LATENESS]


def test_nothing_to_publish_is_no_error(flows):
    assert send(flows, [], bound(flows, 80), SECOND) == []


def lines(tmp_path: Path, *rows: bytes) -> FileRecords:
    file = tmp_path / "sales.jsonl"
    file.write_bytes(b"\n".join(rows))
    return FileRecords(file, SHOP.events)


def test_each_line_of_a_file_is_a_record_with_its_id_as_key_and_its_own_time(tmp_path):
    first = orjson.dumps({"id": "a", "at": "2013-01-01T10:15:00Z", "more": [1]})
    second = orjson.dumps({"id": 17, "at": START + 1})
    records = lines(tmp_path, first, b"", b"  " + second + b"\r", b"   ")
    assert len(records) == 2
    assert (
        list(records)
        == list(records)
        == [
            Outgoing("sales", first, b"a", timestamp=START),
            Outgoing("sales", second, b"17", timestamp=START + 1),
        ]
    )


BAD = [
    b"not json",
    b"[]",
    b"1",
    b'{"id": "a"}',
    b'{"at": 1357035300000}',
    b'{"id": "a", "at": "soon"}',
    b'"text"',
]


@pytest.mark.parametrize("line", BAD)
def test_a_line_that_would_be_a_dead_letter_is_named_by_its_number(tmp_path, line):
    records = lines(tmp_path, orjson.dumps({"id": "a", "at": START}), b"", line)
    found = survey(SHOP, records, print)
    assert (found.counts, found.bad) == ({"sales": 2}, 1)
    with pytest.raises(ConfigError, match=r"1 of 2 records .* dead letters: line 3: \S.* Nothing was"):
        found.check(records.place)


def test_of_many_bad_records_the_first_three_are_told_and_all_are_counted(tmp_path):
    records = lines(tmp_path, *BAD, orjson.dumps({"id": "a", "at": START}))
    with pytest.raises(ConfigError, match=r"7 of 8 records .*line 1: .*line 2: .*line 3: .*; and 4 more\."):
        survey(SHOP, records, print).check(records.place)


def test_what_is_bad_in_a_file_can_be_sent_as_it_is(tmp_path):
    sent = list(lines(tmp_path, orjson.dumps({"id": "a", "at": START}), *BAD))
    assert [record.value for record in sent[1:]] == BAD
    assert [record.key for record in sent] == [b"a", None, None, None, b"a", None, b"a", None]
    assert {record.timestamp for record in sent} == {START}


def test_what_is_late_within_its_slot_is_a_fault_and_what_is_not_is_none():
    late = SHOP.lateness.total_seconds()
    first, again = record("sales", 0), record("visits", 0)
    behind, within = record("sales", -1 - int(late)), record("visits", -int(late))
    same_slot = [r._replace(key=b"k") for r in (first, again, behind, within)]
    found = survey(SHOP, [_at_own_time(r) for r in same_slot], print)
    assert found.faults == {2: "its event time is 10801 s behind that of a record before it"}


def _at_own_time(record: Outgoing) -> Outgoing:
    return record._replace(value=orjson.dumps({"id": str(record.timestamp), "at": record.timestamp}))


def labelled(delays: Iterable[int]) -> list[Outgoing]:
    """Return an event each minute, and its label after this many seconds."""
    rows = []
    for number, delay in enumerate(delays):
        for topic, second in (("sales", 60 * number), ("chargebacks", 60 * number + delay)):
            payload = {"id": f"e{number}", "at": START + second * SECOND, "fraud": True}
            rows.append(Outgoing(topic, orjson.dumps(payload), b"k", timestamp=START + second * SECOND))
    return sorted(rows, key=lambda r: r.timestamp or 0)


def test_the_label_delay_is_the_median_of_those_that_meet_their_events():
    found = survey(SHOP, labelled([*range(300, 400, 10), *range(3000, 3009)]), print)
    assert (found.bad, found.counts) == (0, {"sales": 19, "chargebacks": 19})
    assert found.delay == 390 * SECOND


def test_without_labels_that_meet_their_events_there_is_no_label_delay():
    events, labels = (
        [r for r in labelled([300] * 20) if r.topic == topic] for topic in ("sales", "chargebacks")
    )
    assert survey(SHOP, events, print).delay is survey(SHOP, labels, print).delay is None


@pytest.mark.parametrize(
    ("delay", "hours", "bound"),
    [
        (None, None, 6 * 3600 * SECOND),
        (600 * SECOND, None, 75 * SECOND),
        (10**9, None, 6 * 3600 * SECOND),
        (0, None, SECOND),
        (600 * SECOND, 2.0, 7200 * SECOND),
    ],
)
def test_the_bound_is_an_eighth_of_the_label_delay_unless_another_one_is_given(delay, hours, bound):
    assert cli_publish._bound(Survey(delay=delay), hours) == bound


def test_times_of_a_file_are_in_the_unit_that_is_declared(tmp_path):
    declared = Stream("sales", "id", "at", {"id": Key(), "at": Time(unit="s")})
    file = tmp_path / "sales.jsonl"
    file.write_text(f'{{"id": 7, "at": {START / 1000 + 0.25}}}\n{{"id": 8, "at": {START}}}\n')
    records = FileRecords(file, declared)
    assert next(iter(records))[2:] == (b"7", None, START + 250, ())
    with pytest.raises(ConfigError, match=r"line 2: .*it looks like milliseconds: declare Time\("):
        survey(replace(SHOP, events=declared), records, print).check(records.place)


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        FileRecords(tmp_path / "nothing.jsonl", SHOP.events)
