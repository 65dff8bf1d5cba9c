"""Entries of the registry topic: each change of a model version, signed and chained by hash."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from flows.core.registry.signed_json import SIGNATURE, SignedJson
from flows.core.stored_format import REGISTRY
from flows.core.stream.broker import Outgoing, Record

Change = Literal[
    "born",  # a version was made: by the declaration, a training or a rollback
    "canary",  # it is better than the champion, and is served to a share of the entities first
    "won",  # it is better than the champion, and waits for a person to promote it
    "promoted",  # it became champion
    "demoted",  # it was champion and scores in the shadow now
    "retired",  # it no longer scores
    "frozen",  # it serves and does not learn
    "unfrozen",
    "checkpoint",  # its state was stored, and nothing changed
    "requested",  # a command asks for a training
    "refused",  # a command was not carried out
    "reverted",  # after a crash, the entries after number `figures["to"]` did not happen
]
GENESIS = sha256(b"").hexdigest()  # the hash that the first entry refers to
ENGINE = "engine"  # who changed something that nobody commanded


class Snapshot(Struct, frozen=True):
    """A model's state in the artifact store, by the SHA-256 of the artifact, and its size in bytes."""

    sha256: str
    size: int


class Entry(Struct, frozen=True, omit_defaults=True):
    """One entry of the registry.

    - `number` counts from 1, and `previous` is the SHA-256 of the entry before, in hexadecimal digits.
    - `time` is the event time (ISO 8601), and `steps` counts the labels and events that the learner handled.
    - `command` is the id of the command that the entry answers.
    - `figures` are those of the decision, such as a challenger's gain; `lineage` is the origin of a version.
    """

    format: str
    pipeline: str
    number: int
    previous: str
    time: str
    steps: int
    change: Change
    version: str
    who: str
    why: str
    learned: int = 0
    command: str = ""
    snapshot: Snapshot | None = None
    figures: dict[str, Any] = {}
    lineage: dict[str, Any] = {}


class Link(NamedTuple):
    """An entry and the hash of its record, to which the next entry refers."""

    entry: Entry
    digest: str


class EntrySealer:
    """Signs and reads the entries of one pipeline."""

    def __init__(self, pipeline: str, secrets: Sequence[bytes]) -> None:
        self._signed = SignedJson(pipeline, secrets, "registry entries", Entry, REGISTRY)

    def seal(self, topic: str, entry: Entry, timestamp: int) -> tuple[Outgoing, Link]:
        """Return the record of an entry, and its link; the sink writes no record twice."""
        content, headers = self._signed.encode(entry)
        signature = dict(headers)[SIGNATURE] or b""
        identity = f"entry:{entry.number}:{signature.hex()[:8]}".encode()  # which others cannot take
        headers = (("id", identity), ("change", entry.change.encode()), *headers)
        record = Outgoing(topic, content, entry.version.encode(), 0, timestamp, headers)
        return record, Link(entry, sha256(content).hexdigest())

    def open(self, record: Record) -> Link:
        """Return the entry in a record; raises `RegistryError` as `SignedJson.decode` does."""
        return Link(self._signed.decode(record), sha256(record.value or b"").hexdigest())
