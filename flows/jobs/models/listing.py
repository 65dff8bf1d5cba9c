"""The registered versions and their history as plain data."""

from typing import Any

from flows.core.lineage import cause_of
from flows.core.registry.entry import Entry
from flows.core.registry.registry import Registry
from flows.jobs.models.versions import NewestMessages


def version_rows(registry: Registry, messages: NewestMessages) -> list[dict[str, Any]]:
    """Return the registered versions, the newest first."""
    aliases = {version.name: alias for alias, version in registry.aliases.items()}
    newest = messages.by_version
    return [
        {
            "version": each.name,
            "role": each.role,
            "alias": aliases.get(each.name),
            "frozen": each.is_frozen,
            "born": _time(each.born),
            "labels": newest[each.name].learned if each.name in newest else each.learned,
            "champion_since": _time(each.last("promoted")) if each.role == "champion" else None,
            "parent": each.born.lineage.get("parent"),
            "cause": cause_of(each.born.lineage),
        }
        for each in reversed(registry.versions.values())
    ]


def _time(entry: Entry | None) -> str | None:
    """Return the event time of an entry; None before the first label, which gives the first event time."""
    return entry.time if entry is not None and entry.steps else None


def entry_row(entry: Entry) -> dict[str, Any]:
    """Return what a person reads of an entry."""
    return {
        "entry": entry.number,
        "time": entry.time,
        "change": entry.change,
        "version": entry.version,
        "labels": entry.learned,
        "who": entry.who,
        "why": entry.why,
    }
