"""What others write to the topics of models and of the registry is refused and told, and serving goes on."""

import pickle
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pytest
from harness import PATIENCE, Project, run_flow, wait_until
from made_flights import MINUTE, NOON, event, label

from flows.core.models.model import ModelMessage
from flows.core.models.signing_keys import SigningKey
from flows.core.registry.entry import EntrySealer
from flows.core.stream.broker import Outgoing, Record
from flows.runtime.engine import Engine

FLIGHTS = 20


def as_sent(record: Record, **changes: Any) -> Outgoing:
    sent = Outgoing(record.topic, record.value, record.key, 0, record.timestamp, record.headers)
    return sent._replace(**changes)


def flipped(value: bytes, bit: int) -> bytes:
    content = bytearray(value)
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


def foreign_entry(running: Engine, records: list[Record]) -> Outgoing:
    """Return an entry of another pipeline that is signed with the same secret."""
    link = EntrySealer("flight_delays", running.secrets).open(records[-1])
    entry = type(link.entry)(
        **{**orjson.loads(records[-1].value or b""), "pipeline": "card_fraud", "number": 3}
    )
    return EntrySealer("card_fraud", running.secrets).seal(records[-1].topic, entry, NOON)[0]


def test_a_registry_that_others_wrote_to_is_told_and_the_learner_goes_on_with_its_own_entries(
    project_on: Project,
) -> None:
    running, project = project_on.engine(), project_on
    project.send([event("F1", NOON)])
    run_flow(running, "predict")
    run_flow(running, "learn")
    own = project.records("registry")
    value = own[1].value or b""
    project.send(
        [
            as_sent(own[1], value=flipped(value, 8 * value.index(b"v1"))),
            as_sent(own[0]),
            foreign_entry(running, own),
            as_sent(own[1], headers=()),
            as_sent(own[1], value=value[:-1]),
            Outgoing("flight_delays.registry", b"\x80garbage", b"x", 0, NOON),
        ]
    )
    with project.flows("predict", "learn", DRIFTLINE_HTTP_PORT="0") as flows:
        project.send([event("F2", NOON + MINUTE), label("F1", NOON + MINUTE, True)])
        wait_until(lambda: len(project.records("predictions")) == 2, PATIENCE)
        done = project.run("models", "freeze", "--by", "ada", "--reason", "why")
        assert done.returncode == 0, done.stderr
        assert flows.stop() == 0
    entries = [orjson.loads(record.value or b"") for record in project.records("registry")[8:]]
    assert [(each["number"], each["change"]) for each in entries] == [(3, "frozen")]
    for fault in ("must be signed with this project's secret", "comes again", "got 'card_fraud'"):
        assert fault in flows.said()
    verified = project.run("models", "history", "--verify")
    assert verified.returncode == 1
    assert re.findall(r"registry, offset (\d+)", verified.stderr) == [str(offset) for offset in range(2, 8)]


def message(running: Engine, version: str, sequence: int, pipeline: str = "flight_delays") -> Outgoing:
    model = running.pipeline.new_model(version)
    sent = ModelMessage(pipeline, "champion", NOON - 1, model, {}, sequence)
    return running.sealer().record(running.pipeline.topic("models"), sent)


def signed_for_states(running: Engine, sent: Outgoing) -> Outgoing:
    """Return a message with a foreign pickle, signed with the key of flow states."""
    body = orjson.loads(sent.value or b"")
    value = orjson.dumps({**body, "estimator": pickle.dumps(print).hex()})
    signature = SigningKey(running.secrets[0], "flow states").sign(value)
    return sent._replace(value=value, headers=(*sent.headers[:-1], ("signature", signature)))


def altered(change: Callable[[bytes], bytes], _: Engine, sent: Outgoing) -> Outgoing:
    return sent._replace(value=change(sent.value or b""))


ALTERED: dict[str, Callable[[Engine, Outgoing], Outgoing]] = {
    "unsigned": lambda _, sent: sent._replace(headers=sent.headers[:-1]),
    "truncated": partial(altered, lambda value: value[:-1]),
    "of another role": partial(altered, lambda value: value.replace(b"champion", b"retired")),
    "of another sequence": partial(altered, lambda value: value.replace(b'"sequence":9', b'"sequence":8')),
    "a foreign pickle": signed_for_states,
    "of another pipeline": lambda running, _: message(running, "v9", 9, pipeline="card_fraud"),
    "sent again": lambda running, _: message(running, "v2", 2),
    "empty": partial(altered, lambda _: b""),
}


@pytest.mark.parametrize("kind", ALTERED)
def test_a_model_message_that_is_not_the_learner_s_is_a_dead_letter_and_the_champion_serves_on(
    project: Project, kind: str
) -> None:
    running = project.engine()
    bad = ALTERED[kind](running, message(running, "v9", 9))
    project.send([message(running, "v2", 2), message(running, "v3", 3), bad])
    project.send([event(f"F{n}", NOON + n * MINUTE) for n in range(FLIGHTS)])
    run_flow(running, "predict")
    (letter,) = project.records("dead-letters")
    stale = kind in ("of another pipeline", "sent again")
    assert (letter.value, dict(letter.headers)["reason"]) == (bad.value, b"stale" if stale else b"signature")
    assert [each["model"] for each in project.values("predictions")] == ["v3"] * FLIGHTS
