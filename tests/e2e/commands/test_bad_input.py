"""No input record stops the flows: unusable ones become dead letters."""

import re
import urllib.request
from collections import Counter
from random import Random

import orjson
from confluent_kafka import Producer
from harness import PATIENCE, Project, free_ports, wait_until
from made_flights import HOUR, MINUTE, NOON, departure, event, event_payload, label

from flows.core.stream.broker import Outgoing
from flows.core.stream.times import iso

DAY = 24 * HOUR
FAR = NOON + 86 * 365 * DAY


def flight(**changes: object) -> Outgoing:
    """A flight with wrong fields; a change to None takes the field away."""
    payload = {k: v for k, v in (event_payload("bad", NOON) | changes).items() if v is not None}
    return Outgoing("flights", orjson.dumps(payload), b"bad", timestamp=NOON)


def raw(value: bytes, topic: str = "flights") -> Outgoing:
    return Outgoing(topic, value, timestamp=NOON)


def rewritten(good: Outgoing, old: bytes, new: bytes) -> Outgoing:
    assert old in good.value
    return good._replace(value=good.value.replace(old, new))


GOOD = event("bad", NOON)
LEFT = departure("bad", NOON, 5)
KNOWN = label("F1", NOON + HOUR, True)
BAD = {
    "not-json": [
        raw(b""),
        raw(b"{"),
        raw(b"\xff\xfe\x00"),
        raw(b"[" * 100_000),
        rewritten(GOOD, b'"distance":2475', b'"distance":NaN'),
        rewritten(GOOD, b'"distance":2475', b'"distance":-Infinity'),
        rewritten(GOOD, b'"distance":2475', b'"distance":1e999'),
        rewritten(LEFT, b'"delay":5', b'"delay":NaN'),
        raw(b"\x00", "arrivals"),
        rewritten(KNOWN, b"true", b"True"),
    ],
    "schema": [
        raw(b"null"),
        raw(b"[]"),
        raw(b'"text"'),
        raw(b"{}"),
        flight(flight_id=None),
        flight(flight_id=17),
        flight(flight_id=""),
        flight(flight_id="x" * 300),
        flight(origin=None),
        flight(origin=["JFK"]),
        flight(tail_number=3),
        flight(distance="far"),
        flight(distance=True),
        flight(distance=-1),
        flight(distance=1e300),
        flight(month=13),
        flight(scheduled_departure=None),
        flight(scheduled_departure="soon"),
        flight(scheduled_departure="2013-01-01T12:00:00"),
        flight(scheduled_departure="1913-01-01T12:00:00Z"),
        flight(scheduled_departure="0001-01-01T00:00:00+23:59"),
        flight(scheduled_departure=2**63),
        flight(scheduled_departure=-1),
        flight(scheduled_departure=4.2e12),
        flight(scheduled_departure="2913-01-01T12:00:00Z"),
        rewritten(LEFT, b'"delay":5', b'"delay":"5"'),
        rewritten(LEFT, b'"delay":5', b'"delay":null'),
        rewritten(KNOWN, b"true", b'"yes"'),
        rewritten(KNOWN, b"true", b"1"),
        rewritten(KNOWN, b"true", b"null"),
        rewritten(KNOWN, b'"F1"', b"null"),
    ],
    "time": [
        flight(scheduled_departure=iso(NOON + 2 * DAY)),
        rewritten(LEFT, iso(NOON).encode(), iso(NOON + 400 * DAY).encode()),
        flight(scheduled_departure=iso(FAR))._replace(timestamp=FAR),  # its producer's clock is wrong too
        label("F1", FAR, True),
    ],
    "duplicate": [event("F1", NOON), KNOWN],
    "unknown-event": [label("nobody", NOON + HOUR, False)],
}


def served() -> list[Outgoing]:
    """What is in order: two flights and a later one, a label before its event, headers that mean nothing."""
    odd = (("published-at", b"yesterday"), ("id", b"F1"), ("reason", b"\xff"))
    later = NOON + 5 * DAY
    return [
        label("F2", NOON + MINUTE, False),
        event("F1", NOON)._replace(headers=odd),
        KNOWN,
        event("F2", NOON + 2 * MINUTE),
        event("F3", later),
        label("F3", later + HOUR, True),
    ]


def metrics(port: int) -> dict[str, float]:
    """The dead letters that a flow counted, by reason, and its predictions."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    found = re.findall(r'^driftline_dead_letters_total\{reason="(.+?)"\} (\S+)$', text, re.M)
    predictions = re.search(r"^driftline_predictions_total (\S+)$", text, re.M)
    return {reason: float(n) for reason, n in found} | {"predictions": float(predictions[1])}


def test_bad_records_of_every_kind_become_dead_letters_and_the_flows_go_on(project_on: Project) -> None:
    port = free_ports(5)
    project = project_on.with_settings(HTTP_PORT=port, MODEL_SECONDS=0.05)
    bad = [out for reason in BAD if reason != "duplicate" for out in BAD[reason]]
    with project.flows("predict", "learn") as running:
        started = running.pids
        wait_until(lambda: len(started()) == 2)
        first = dict(started())
        project.send([*served()[:4], *bad, *BAD["duplicate"]])
        wait_until(lambda: len(project.records("predictions")) == 2, PATIENCE)
        project.send(served()[4:])
        total = sum(map(len, BAD.values()))
        wait_until(lambda: len(project.records("dead-letters")) >= total, PATIENCE)
        wait_until(lambda: [m["labels"] for m in project.values("metrics")][-1:] == [3], PATIENCE)
        predict, learn = metrics(port), metrics(port + 1)
        assert started() == first, running.said()
        assert running.stop() == 0, running.said()

    letters = project.records("dead-letters")
    found = Counter((dict(letter.headers)["reason"].decode(), letter.value) for letter in letters)
    assert found == Counter((reason, out.value) for reason in BAD for out in BAD[reason])
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers}
        original = project.records(headers["topic"])[int(headers["offset"])]
        assert headers["partition"] == "0"
        assert (original.value, original.key) == (letter.value, letter.key)
        assert letter.timestamp == original.timestamp or original.timestamp == FAR
        assert headers["detail"]
    assert [p["id"] for p in project.values("predictions")] == ["F1", "F2", "F3"]
    counted = Counter(predict) + Counter(learn)
    assert counted == {reason: len(outs) for reason, outs in BAD.items()} | {"predictions": 3}


def test_a_bad_record_as_large_as_a_producer_may_send_is_kept_too(project_on_kafka: Project) -> None:
    project = project_on_kafka.with_settings(HTTP_PORT=0)
    address = project.environment["DRIFTLINE_BROKER"].removeprefix("kafka://")
    producer = Producer({"bootstrap.servers": address, "log_level": 0})
    value = Random(1).randbytes(999_900)
    producer.produce("flights", value)
    assert producer.flush(10) == 0
    with project.flows("predict") as running:
        project.send([event("F1", NOON)])
        wait_until(lambda: len(project.records("predictions")) == 1, PATIENCE)
        (letter,) = project.records("dead-letters")
        assert letter.value == value
        assert running.stop() == 0, running.said()
