"""Carries out commands, and enters each change of a model version into the registry."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flows.core.drift.levels import Position
from flows.core.learning.events import Cause, ContestWon, FreezeChange, LearnerEvent, RoleEvent
from flows.core.learning.learner import Learner, position
from flows.core.learning.replay import RegisteredState
from flows.core.models.model import Model
from flows.core.models.snapshots import Sealer
from flows.core.registry.chain import Break, read_chain
from flows.core.registry.command import Command, CommandSealer
from flows.core.registry.entry import Change, EntrySealer, Link, Snapshot
from flows.core.registry.ledger import Author, Ledger, Moment
from flows.core.registry.registry import Registry
from flows.core.stream.broker import Broker, Outgoing, Record, read_since
from flows.errors import CommandRefused, RoleError, SnapshotError, StaleSnapshot, StoreError
from flows.pipeline import Pipeline

CHECKPOINT = 10_000  # steps of the learner between two stored states of the champion

# changes with which a model's state is stored
_STORED = (
    "born",
    "promoted",
    "demoted",
    "unfrozen",
    "checkpoint",
)

ENGINE = Author()

_log = logging.getLogger("driftline.registry")


class Obeyed(NamedTuple):
    """What follows from a command: events of the learner with their author, and entries about no event."""

    events: list[LearnerEvent]
    author: Author
    entries: list[Outgoing]


class Registrar:
    """Keeps the registry of one pipeline; the learner's flow is its only writer.

    `wakes_at` is the number of the learner's steps at which `due` has an entry.
    """

    def __init__(self, learner: Learner, ledger: Ledger, commands: CommandSealer, sealer: Sealer) -> None:
        self._learner = learner
        self._ledger = ledger
        self._registry = ledger.registry
        self._commands = commands
        self._sealer = sealer
        self.wakes_at = 0.0

    @property
    def entry(self) -> int:
        """The number of the last entry."""
        return self._registry.chain.number

    @property
    def is_behind(self) -> bool:
        """Whether the log has entries that the learner has not come to again since a crash.

        The models that it has until then are not to be served: their roles are those of before.
        """
        return self._ledger.is_behind

    def give_up(self) -> list[Outgoing]:
        """Return the entry that the learner does not come to those of before the crash, if there are any."""
        return _told(self._ledger.revert(self._moment()))

    def due(self) -> list[Outgoing]:
        """Return the entries that no event brings, when it is time; the models have learned all labels.

        These are the first ones, a checkpoint, and that the learner did not come to what the log has.
        """
        champion, steps = self._learner.champion, self._learner.steps
        out = self.give_up() if steps >= self._ledger.overdue_at else []
        registered = self._registry.champion
        if registered is None or registered.name != champion.version:
            out += self._begin(champion)
        elif steps >= self._checkpoint_at():
            out += self._add("checkpoint", champion, ENGINE)
        self.wakes_at = min(self._checkpoint_at(), self._ledger.overdue_at)
        return out

    def obey(self, record: Record) -> Obeyed:
        """Carry out the command in a record, once.

        Raises `RegistryError`, and `StaleSnapshot` for a command that was carried out already.
        """
        command = self._commands.open(record)
        if self._registry.has_answered(command.id):
            raise StaleSnapshot(f"the command {command.id} was carried out already; it was ignored")
        author = Author(command.who, command.why, command.id)
        try:
            events = self._events(command, position(record))
        except (CommandRefused, RoleError, SnapshotError) as fault:
            _log.warning("command %s (%s) was refused: %s", command.id, command.action, fault)
            refused = author._replace(why=str(fault))
            entries = self._ledger.add("refused", command.version, self._moment(), refused)
            return Obeyed([], author, _told(entries))
        if command.action == "retrain":
            return Obeyed([], author, self._add("requested", self._learner.champion, author))
        return Obeyed(events, author, [])

    def enter(self, event: RoleEvent, author: Author) -> list[Outgoing]:
        """Return the entries for a change that the learner made; that of the engine itself has its cause."""
        author = author._replace(why=author.why or event.cause.why)
        model, figures = event.model, event.cause.figures
        if isinstance(event, FreezeChange):
            return self._add("frozen" if event.is_frozen else "unfrozen", model, author)
        if isinstance(event, ContestWon):
            return self._add("won", model, author, figures)
        is_new = model.version not in self._registry.versions
        born = self._add("born", model, author) if is_new else []  # empty too if the log has it already
        if event.role == "challenger":
            change: Change = "canary" if event.cause.kind == "canary" else "demoted"
            return born if is_new else self._add(change, model, author, figures)
        change = "promoted" if event.role == "champion" else "retired"
        return born + self._add(change, model, author, figures)

    def _begin(self, champion: Model) -> list[Outgoing]:
        """Enter the first champion, or one that started over without the state of before."""
        author = Author(why="the pipeline's declaration")
        born = [] if champion.version in self._registry.versions else self._add("born", champion, author)
        return born + self._add("promoted", champion, author)

    def _events(self, command: Command, place: Position) -> list[LearnerEvent]:
        """Carry out a command in the learner; raises what makes it impossible."""
        learner, cause = self._learner, Cause("command", command.why)
        match command.action:
            case "promote":
                return learner.promote(self._registry.find(command.version).name, cause, place)
            case "retire":
                return learner.retire(self._registry.find(command.version).name, cause)
            case "rollback":
                return self._roll_back(command, cause, place)
            case "freeze":
                return learner.freeze(cause)
            case "unfreeze":
                return learner.unfreeze(cause)
            case "retrain":
                return []

    def _roll_back(self, command: Command, cause: Cause, place: Position) -> list[LearnerEvent]:
        """Make a new version, with the stored state of an old one, the champion."""
        old = self._registry.find(command.version)
        if old.stored is None or old.snapshot is None:
            raise CommandRefused(f"version {old.name!r} has no stored state; roll back to another version")
        learner, name = self._learner, self._registry.next_restored
        replaced, state = learner.champion, RegisteredState.restored(self._sealer, old.snapshot)
        model = Model(name, state.estimator, old.stored.learned, replaced.task)
        lineage = {"parent": replaced.version, "restores": old.name}
        events = learner.roll_back(model, lineage, cause, place)
        if command.learning != "shadow":
            events += learner.retire(replaced.version, cause)
        if command.learning != "continue":
            events += learner.freeze(cause)
        return events

    def _add(
        self, change: Change, model: Model, author: Author, figures: Mapping[str, float] | None = None
    ) -> list[Outgoing]:
        return _told(
            self._ledger.add(
                change,
                model.version,
                self._moment(),
                author,
                learned=model.learned,
                snapshot=self._stored(model) if change in _STORED else None,
                figures=figures,
                lineage=self._learner.lineage.get(model.version) if change == "born" else None,
            )
        )

    def _stored(self, model: Model) -> Snapshot | None:
        """Store a model's state; None if that fails, which the log tells: serving must go on."""
        try:
            return Snapshot(*self._sealer.store(tuple(self._learner.registered(model))))
        except (SnapshotError, StoreError) as fault:
            _log.warning("the state of version %s was not stored: %s", model.version, fault)
            return None

    def _moment(self) -> Moment:
        return Moment(self._learner.learned_until, self._learner.steps)

    def _checkpoint_at(self) -> int:
        """Return the number of steps after which the champion's state is stored again."""
        return self._registry.versions[self._learner.champion.version].entries[-1].steps + CHECKPOINT


def _told(entries: list[Outgoing]) -> list[Outgoing]:
    """Log it if entries were reverted; return the entries."""
    if any(("change", b"reverted") in entry.headers for entry in entries):
        _log.warning(
            "after a crash the learner decided otherwise than before it; the registry says which entries are "
            "reverted, and commands among them are carried out again (see `driftline models history`)"
        )
    return entries


def open_ledger(broker: Broker, pipeline: Pipeline, secrets: Sequence[bytes], stored: int) -> Ledger:
    """Return the ledger of a flow whose state includes the entries up to number `stored`.

    What breaks the chain of the log is logged; `driftline models history --verify` finds it too.
    """
    topic, sealer = pipeline.topic("registry"), EntrySealer(pipeline.name, secrets)
    links: list[Link] = []
    for found in read_chain(read_since(broker, topic, 0), sealer):
        if isinstance(found, Break):
            _log.error("registry, offset %d: %s", found.offset, found.fault)
        else:
            links.append(found)
    before = [link for link in links if link.entry.number <= stored]
    return Ledger(pipeline.name, topic, sealer, Registry(before), links[len(before) :])
