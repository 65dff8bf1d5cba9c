"""Publishing over HTTP: each id once, also while the first request is in progress or has failed."""

import asyncio
from concurrent.futures import Future
from typing import Any

import orjson
import pytest

from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.decode import Decoder
from flows.core.stream.fields import Number, Text, Time
from flows.errors import BrokerAway, InvalidRecord
from flows.serve.input_topic import InputTopic, Published
from flows.serve.problems import Problem

DECODER = Decoder("id", "at", {"id": Text(), "at": Time(), "n": Number()})


class HeldWriter:
    """Keeps what is submitted until the test answers."""

    def __init__(self) -> None:
        self.submitted: list[tuple[list[Outgoing], Future[None]]] = []

    def submit(self, records: list[Outgoing]) -> Future[None]:
        done: Future[None] = Future()
        self.submitted.append((records, done))
        return done


def body(name: str, n: int = 1) -> bytes:
    return orjson.dumps({"id": name, "at": 1000, "n": n})


def topic() -> tuple[InputTopic, HeldWriter]:
    writer: Any = HeldWriter()
    return InputTopic("t", DECODER, writer, 10), writer


async def publish(to: InputTopic, *bodies: bytes) -> list[Published | Problem]:
    return await to.publish(bodies, [to.decode(each) for each in bodies])


def test_a_second_request_waits_for_the_first_one_of_the_same_id():
    async def both() -> tuple[Any, Any, int]:
        to, writer = topic()
        first = asyncio.create_task(publish(to, body("a")))
        second = asyncio.create_task(publish(to, body("a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not first.done()
        assert not second.done()
        writer.submitted[0][1].set_result(None)
        return await first, await second, len(writer.submitted)

    first, second, writes = asyncio.run(both())
    assert (first, second) == ([Published("a", "published")], [Published("a", "known")])
    assert writes == 1


def test_after_a_failure_the_record_is_sent_again():
    async def again() -> tuple[int, Any]:
        to, writer = topic()
        first = asyncio.create_task(publish(to, body("a")))
        await asyncio.sleep(0)
        writer.submitted[0][1].set_exception(BrokerAway("away"))
        with pytest.raises(Problem):
            await first
        second = asyncio.create_task(publish(to, body("a")))
        await asyncio.sleep(0)
        writer.submitted[1][1].set_result(None)
        return len(writer.submitted), await second

    assert asyncio.run(again()) == (2, [Published("a", "published")])


def test_records_on_the_topic_are_known_by_their_declared_fields_and_another_content_is_a_conflict():
    async def known() -> list[Published | Problem]:
        to, writer = topic()
        there = orjson.dumps({"n": 1.0, "id": "a", "at": "1970-01-01T00:00:01Z", "more": True})
        to.take([Record("t", 0, 0, 1000, b"a", there, ()), Record("t", 0, 1, 1000, None, b"{", ())])
        found = await publish(to, body("a"), body("a", n=2))
        assert writer.submitted == []
        return found

    same, other = asyncio.run(known())
    assert same == Published("a", "known")
    assert isinstance(other, Problem)
    assert other.status == 409


def test_an_id_that_comes_twice_in_one_request_is_sent_once():
    async def twice() -> tuple[Any, list[Outgoing]]:
        to, writer = topic()
        asked = asyncio.create_task(publish(to, body("a"), body("a"), body("b")))
        await asyncio.sleep(0)
        writer.submitted[0][1].set_result(None)
        return await asked, writer.submitted[0][0]

    results, sent = asyncio.run(twice())
    assert [each.status for each in results] == ["published", "known", "published"]
    assert [(each.key, each.timestamp) for each in sent] == [(b"a", 1000), (b"b", 1000)]


def test_a_record_from_the_future_is_refused():
    to, _ = topic()
    with pytest.raises(InvalidRecord, match="at most an hour ahead"):
        to.decode(orjson.dumps({"id": "a", "at": "2099-01-01T00:00:00Z", "n": 1}))
