"""The registry: the versions of a pipeline's models, as the fold of the entries about them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from flows.core.registry.chain import Break, Chain
from flows.core.registry.entry import Change, Entry, Link, Snapshot
from flows.core.registry.version_names import ALIASES, parse_version_name
from flows.errors import UnknownVersion

VersionRole = Literal["champion", "challenger", "shadow", "retired"]

_ROLE_AFTER: dict[str, VersionRole] = {"promoted": "champion", "demoted": "shadow", "retired": "retired"}


@dataclass
class RegisteredVersion:
    """A version of the model: its role, the entries about it, and the labels that it learned by the last.

    `is_frozen`: it is champion and does not learn.
    """

    name: str
    role: VersionRole
    entries: list[Entry] = field(default_factory=list)
    learned: int = 0
    is_frozen: bool = False

    @property
    def born(self) -> Entry:
        """The entry with which the version begins, and with its lineage."""
        return self.entries[0]

    @property
    def stored(self) -> Entry | None:
        """The last entry with a stored state, None if there is none."""
        return next((entry for entry in reversed(self.entries) if entry.snapshot is not None), None)

    @property
    def snapshot(self) -> Snapshot | None:
        """The last stored state, None if there is none."""
        return None if self.stored is None else self.stored.snapshot

    def last(self, change: Change) -> Entry | None:
        """Return the last entry about this change, None if there is none."""
        return next((entry for entry in reversed(self.entries) if entry.change == change), None)


class Registry:
    """The state of the registry after the entries added so far."""

    def __init__(self, links: Iterable[Link] = ()) -> None:
        self.chain = Chain()
        self.entries: list[Entry] = []
        self._begin()
        for link in links:
            self.add(link)

    def _begin(self) -> None:
        self.versions: dict[str, RegisteredVersion] = {}
        self._champions: list[str] = []  # each promotion, in order
        self._bad: set[str] = set()  # versions that a rollback replaced
        self._answered: set[str] = set()  # commands
        self._lasting: list[Entry] = []  # without those that were reverted

    def add(self, link: Link) -> None:
        """Add the next entry."""
        self.chain.add(link)
        self.entries.append(link.entry)
        self._fold(link.entry)

    def _fold(self, entry: Entry) -> None:
        if entry.change == "reverted":
            lasting = [each for each in self._lasting if each.number <= entry.figures["to"]]
            self._begin()
            for each in lasting:
                self._fold(each)
            return
        self._lasting.append(entry)
        if entry.command:
            self._answered.add(entry.command)
        if entry.version and entry.change not in ("refused", "requested"):
            self._change(entry)

    @property
    def champion(self) -> RegisteredVersion | None:
        """The version that serves, None before the first entry."""
        return self.versions[self._champions[-1]] if self._champions else None

    @property
    def next_restored(self) -> str:
        """The name of a version that a rollback makes now; no trained version has such a name."""
        return f"r{self.chain.number + 1}"

    def has_answered(self, command: str) -> bool:
        """Return whether an entry answers the command of this id."""
        return command in self._answered

    @property
    def aliases(self) -> dict[str, RegisteredVersion]:
        """The version of each alias that has one; of several challengers, the one that was born last."""
        challengers = [version for version in self.versions.values() if version.role == "challenger"]
        found = (self.champion, challengers[-1] if challengers else None, self.previous())
        return {alias: version for alias, version in zip(ALIASES, found, strict=True) if version is not None}

    def find(self, name: str) -> RegisteredVersion:
        """Return the version with this name or alias, or with a URI such as "models:/NAME@champion".

        Raises `UnknownVersion`.
        """
        wanted, aliases = parse_version_name(name).name, self.aliases
        found = aliases.get(wanted) or self.versions.get(wanted)
        if found is None and not self.versions:
            raise UnknownVersion(
                f"there is no model version yet, got {name!r}; the learner registers the first one when it "
                "starts: run `driftline run`"
            )
        if found is None:
            known = ", ".join([*self.versions, *aliases])
            raise UnknownVersion(f"version {name!r} must be one of {known}; see `driftline models list`")
        return found

    def previous(self) -> RegisteredVersion | None:
        """Return the last other champion that no rollback replaced, None if there is none."""
        present = self._champions[-1] if self._champions else ""
        for name in reversed(self._champions):
            if name != present and name not in self._bad:
                return self.versions[name]
        return None

    def _change(self, entry: Entry) -> None:
        version = self.versions.setdefault(entry.version, RegisteredVersion(entry.version, "challenger"))
        version.entries.append(entry)
        if entry.change in _ROLE_AFTER:
            version.role, version.is_frozen = _ROLE_AFTER[entry.change], False
        elif entry.change in ("frozen", "unfrozen"):
            version.is_frozen = entry.change == "frozen"
        version.learned = max(version.learned, entry.learned)
        if entry.change == "promoted":
            self._promote(version)

    def _promote(self, version: RegisteredVersion) -> None:
        """Note a champion; one that was champion before, or has an old state, takes back what it replaces."""
        if self._champions and (version.name in self._champions or "restores" in version.born.lineage):
            self._bad.add(self._champions[-1])
        self._champions.append(version.name)


def fold(found: Iterable[Link | Break]) -> tuple[Registry, list[Break]]:
    """Return the registry of a log, and what breaks its chain."""
    registry, breaks = Registry(), []
    for each in found:
        if isinstance(each, Break):
            breaks.append(each)
        else:
            registry.add(each)
    return registry, breaks
