"""Checks what the models of `scripts/chaos models` have learned: they know the numbers of their flights."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from flows.core.learning.replay import RegisteredState
from flows.core.models.announcements import Reference
from flows.core.models.model import Model, ModelMessage
from flows.core.stream.broker import Record
from flows.core.stream.times import milliseconds
from scripts.faults.checks.check import Check
from scripts.faults.checks.registry import Entry, entries, lasting
from scripts.faults.checks.topics import features_of, labelled
from scripts.faults.site import Log

NUMBER = "flight_number"


class Row(NamedTuple):
    """A flight with a prediction and a label: its id, and the place and the time (ms) of the label."""

    id: str
    partition: int
    offset: int
    time: int


def learned_each_once(log: Log) -> Check:
    """Check that each version learned each label once that it should have learned, and no other."""
    history, wrong = _History(log), []
    for version in history.last:
        wrong += [f"{version}: {fault}" for fault in history.faults(version)]
    return Check("learned exactly once: versions that did not", len(history.last), wrong)


class _History:
    """What each version has learned according to its messages, and what it should have."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._sealer = log.running.sealer()
        self.rows = {
            int(features_of(log, body)[NUMBER]): Row(
                body["id"], record.partition, record.offset, record.timestamp
            )
            for body, record in labelled(log)
        }
        self._entries = lasting(entries(log))
        self._born = {each["version"]: each for each in self._entries if each["change"] == "born"}
        self._frozen = {each["version"] for each in self._entries if each["change"] == "frozen"}
        self.last, self._candidates = self._messages()

    def faults(self, version: str) -> list[str]:
        """Return what a version should not have learned, or has not learned and should have."""
        message, entry = self.last[version], self._born[version]
        times, begin = learned_by(message.model), self._begin(entry)
        added = Counter({number: count - begin[number] for number, count in times.items()})
        should, must = self._should(entry), self._must_learn_all(version)
        found = {
            "lost of its origin": [number for number in begin if times[number] < begin[number]],
            "learned twice": [number for number, count in added.items() if count > 1],
            "learned and should not": [
                number for number, count in added.items() if count and number not in should
            ],
            "not learned": [number for number in should if must and not added[number]],
        }
        faults = [
            f"{len(numbers)} {what}, such as {numbers[0]}" for what, numbers in found.items() if numbers
        ]
        if message.model.learned != times.total():
            faults.append(f"says {message.model.learned} of {times.total()} that it has learned")
        return faults

    def _begin(self, entry: Entry) -> Counter[int]:
        """Return how often a version had learned each flight when it was trained, or was restored."""
        lineage = entry.get("lineage", {})
        if "restores" in lineage:
            return learned_by(self._restored(entry, lineage["restores"]))
        trained = self._candidates.get(entry["version"])
        return Counter() if trained is None else learned_by(trained.model)

    def _should(self, entry: Entry) -> set[int]:
        """Return the flights that a version should learn since it was trained or restored."""
        lineage = entry.get("lineage", {})
        if "restores" in lineage:
            return self._later_than(entry)
        if "since" not in lineage:
            return set(self.rows)
        cut, since = self._candidates[entry["version"]].lineage["cut"], milliseconds(lineage["since"])
        return {number for number, row in self.rows.items() if row.time >= since and not _is_in(cut, row)}

    def _later_than(self, restored: Entry) -> set[int]:
        """Return the flights after a rollback: those that the champion before it would have gone on with."""
        parent = restored["lineage"]["parent"]
        known = learned_by(self.last[parent].model) if self._ended(parent, restored) else Counter[int]()
        return {number for number in self._of_life(parent) if not known[number]}

    def _of_life(self, version: str) -> set[int]:
        """Return the flights that a version, or what it was restored to replace, learns sooner or later."""
        lineage = self._born[version].get("lineage", {})
        if "restores" in lineage:
            return self._of_life(lineage["parent"])
        since = milliseconds(lineage["since"]) if "since" in lineage else 0
        return {number for number, row in self.rows.items() if row.time >= since}

    def _must_learn_all(self, version: str) -> bool:
        """Return whether a version has missed nothing that it should learn; a frozen one has."""
        parent = self._born[version].get("lineage", {}).get("parent", "")
        is_restored = "restores" in self._born[version].get("lineage", {})
        is_known = not is_restored or (
            self._ended(parent, self._born[version]) and parent not in self._frozen
        )
        return self._lives(version) and version not in self._frozen and is_known

    def _ended(self, parent: str, restored: Entry) -> bool:
        """Return whether the rollback retired the champion before it, which then learned no more."""
        return any(
            (each["change"], each["version"]) == ("retired", parent)
            for each in self._entries
            if each.get("command") == restored["command"]
        )

    def _lives(self, version: str) -> bool:
        return self.last[version].role != "retired"

    def _restored(self, born: Entry, version: str) -> Model:
        """Return the last stored state of a version before an entry."""
        before = [each for each in self._entries if each["number"] < born["number"]]
        stored = [each for each in before if each["version"] == version and "snapshot" in each][-1]
        reference = Reference(stored["snapshot"]["sha256"], stored["snapshot"]["size"])
        state = RegisteredState(*self._sealer.restore(reference))
        return Model(version, state.estimator)

    def _messages(self) -> tuple[dict[str, ModelMessage], dict[str, ModelMessage]]:
        """Return the last message of each version, and those of the candidates."""
        last: dict[str, Record] = {}
        candidates: dict[str, Record] = {}
        for record in self._log.records(self._log.running.pipeline.topic("models")):
            if record.partition == 0:
                body: Mapping[str, Any] = orjson.loads(record.value or b"")
                (candidates if body["role"] == "candidate" else last)[body["version"]] = record
        read = self._sealer.read
        return {v: read(each) for v, each in last.items()}, {v: read(each) for v, each in candidates.items()}


def learned_by(model: Model) -> Counter[int]:
    """Return how often the model has learned each flight, by its number."""
    times: Counter[int] = Counter()
    for plane in model.estimator.times:
        times.update(number for number, bit in enumerate(reversed(bin(plane)[2:])) if bit == "1")
    return times


def _is_in(cut: Mapping[str, Any], row: Row) -> bool:
    """Return whether a training with this cut has learned the row."""
    return row.offset < cut["labels"].get(str(row.partition), 0) and row.id not in cut["early"]
