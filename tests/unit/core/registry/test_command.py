"""Commands: signed for one pipeline, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_entries import on_topic

from flows.core.registry.command import ACTIONS, Command, CommandSealer
from flows.core.registry.entry import EntrySealer
from flows.core.stored_format import COMMAND
from flows.errors import RegistryError

SECRET = b"a secret of thirty-two bytes, ok"
SEALER = CommandSealer("shop", [SECRET])


def command(**changes) -> Command:
    fields = {
        "format": str(COMMAND),
        "pipeline": "shop",
        "id": "c1",
        "action": "rollback",
        "version": "v2",
        "who": "ada",
        "why": "too many false alarms",
        "issued": "2026-01-01T00:00:00Z",
    }
    return Command(**{**fields, **changes})


def record(sealer=SEALER, **changes):
    return on_topic([sealer.seal("shop.commands", command(**changes), 7)])[0]


@given(st.sampled_from(ACTIONS), st.text(), st.text(), st.sampled_from(["continue", "frozen", "shadow"]))
def test_a_command_is_read_as_it_was_sent(action, who, why, learning):
    changes = {"action": action, "who": who, "why": why, "learning": learning}
    assert SEALER.open(record(**changes)) == command(**changes)


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (record(CommandSealer("shop", [b"x" * 32])), "must be signed with this project's secret"),
        (record()._replace(headers=()), "must be signed"),
        (record()._replace(value=None), "must be signed"),
        (record(pipeline="other"), "must be of pipeline 'shop', got 'other'"),
        (record(format="driftline-command/9"), "must be of format driftline-command/1"),
        (
            record(action="destroy"),
            r"must have the fields of this version, got: Invalid enum value 'destroy'",
        ),
    ],
)
def test_a_command_of_somebody_else_is_refused(sent, fault):
    with pytest.raises(RegistryError, match=fault):
        SEALER.open(sent)


@given(st.data())
def test_a_bit_flip_in_a_command_or_its_signature_is_refused(data):
    sent, in_header = record(), data.draw(st.booleans())
    content = bytearray(dict(sent.headers)["signature"] if in_header else sent.value)
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    if in_header:
        sent = sent._replace(headers=(*sent.headers[:-1], ("signature", bytes(content))))
    else:
        sent = sent._replace(value=bytes(content))
    with pytest.raises(RegistryError, match="must be signed with this project's secret"):
        SEALER.open(sent)


@given(st.data())
def test_a_truncated_command_is_refused(data):
    sent = record()
    length = data.draw(st.integers(0, len(sent.value) - 1))
    with pytest.raises(RegistryError, match="must be signed with this project's secret"):
        SEALER.open(sent._replace(value=sent.value[:length]))


def test_an_entry_of_the_registry_is_no_command():
    entry = record()._replace(topic="shop.registry")
    with pytest.raises(RegistryError, match="must be signed"):
        EntrySealer("shop", [SECRET]).open(entry)


def test_a_former_secret_still_verifies_during_a_rotation():
    new = CommandSealer("shop", [b"n" * 32, SECRET])
    assert new.open(record()) == command()
    with pytest.raises(RegistryError):
        SEALER.open(record(new))
