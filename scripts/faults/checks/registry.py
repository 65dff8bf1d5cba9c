"""Checks the registry: its chain, its champions, and whether predictions and model messages agree with it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import groupby, pairwise
from math import inf
from typing import Any, NamedTuple

import orjson

from scripts.faults.checks.check import Check
from scripts.faults.checks.topics import bodies
from scripts.faults.site import Log, Site

Entry = dict[str, Any]

_OF_NO_VERSION = ("refused", "requested")
_OF_THE_CHAMPION = ("frozen", "unfrozen", "checkpoint")
_ON_THE_TOPIC = {"shadow": "challenger"}
_ROLE_AFTER = {"born": "challenger", "promoted": "champion", "demoted": "shadow", "retired": "retired"}


REREAD = 100  # labels; after a crash the learner may read some before others, and decide so much earlier


class Reign(NamedTuple):
    """A version from its promotion on, and the events that it had learned then and when it ended."""

    version: str
    begin: float
    end: float


def of_the_registry(site: Site, log: Log) -> Iterator[Check]:
    """Yield the checks of the registry."""
    yield chained(site, log)
    yield one_champion(log)
    yield served_by_the_champion(log)
    yield announced(log)
    yield answered(log)


def entries(log: Log) -> list[Entry]:
    """Return the entries of the registry topic, unverified."""
    return [body for body, _ in bodies(log, "registry")]


def chained(site: Site, log: Log) -> Check:
    """Check that the entries are a chain, also according to `driftline models history --verify`."""
    records, wrong = list(log.records(log.running.pipeline.topic("registry"))), []
    before = sha256(b"").hexdigest()
    for number, record in enumerate(records, 1):
        body = orjson.loads(record.value or b"")
        if (body["number"], body["previous"]) != (number, before):
            wrong.append(f"entry {body['number']} at offset {record.offset}")
        before = sha256(record.value or b"").hexdigest()
    said = site.directory / "history.log"
    with said.open("wb") as output:
        if code := site.command("models", "history", "--verify", output=output).wait():
            wrong.append(f"`models history --verify` exits with code {code}; see {said}")
    return Check("registry: entries that do not continue the chain", len(records), wrong)


def one_champion(log: Log) -> Check:
    """Check that from the first promotion on there is one champion, and that each version is born once."""
    told, wrong = entries(log), []
    states = [_Roles({}, "", "")]  # after each entry
    for entry in told:
        states.append(states[-1])
        if entry["change"] == "reverted":
            states[-1] = states[entry["figures"]["to"]]
        elif entry["change"] not in _OF_NO_VERSION:
            states[-1], faults = _after(states[-1], entry["change"], entry["version"])
            wrong += [f"entry {entry['number']}: {fault}" for fault in faults]
    roles, champion, leaving = states[-1]
    if leaving or [*roles.values()].count("champion") != 1:
        wrong.append(f"at the end: {champion} is champion, {leaving or 'nobody'} must leave, in {roles}")
    return Check("registry: entries after which there is not one champion", len(told), wrong)


class _Roles(NamedTuple):
    """The roles of versions, the champion, and the champion before it while it has no other role yet."""

    roles: dict[str, str]
    champion: str
    leaving: str


def _after(before: _Roles, change: str, version: str) -> tuple[_Roles, list[str]]:
    """Return the roles after a change, and what is wrong about it."""
    roles, champion, leaving = before
    faults = {
        f"{version} {change}, born {'already' if version in roles else 'never'}": (change == "born")
        == (version in roles),
        f"{version} {change}, but {champion} is champion": change in _OF_THE_CHAMPION and version != champion,
        f"{version} promoted, but {leaving} must leave": change == "promoted" and bool(leaving),
        f"{version} promoted again": change == "promoted" and version == champion,
        f"{version} {change} after it was retired": roles.get(version) == "retired",
        f"the champion {version} {change}": change in ("demoted", "retired", "canary")
        and version == champion,
        f"{version} demoted, which was not champion": change == "demoted" and version != leaving,
    }
    if change == "promoted":
        leaving, champion = champion, version
    elif change in ("demoted", "retired") and version == leaving:
        leaving = ""
    roles = {**roles, version: _ROLE_AFTER.get(change, roles.get(version, ""))}
    return _Roles(roles, champion, leaving), [fault for fault, holds in faults.items() if holds]


def served_by_the_champion(log: Log) -> Check:
    """Check that each prediction is by the champion of then, as the promotions follow and it had learned."""
    by_order, predictions, wrong = reigns(entries(log)), 0, []
    placed = ((place.rpartition("/")[0], body, place) for body, place in bodies(log, "predictions"))
    for _, of_partition in groupby(placed, key=lambda each: each[0]):
        reign = 0
        for _, body, place in of_partition:
            predictions += 1
            found = _reign_of(body, by_order, reign)
            if found is None:
                learned = body["learned"]
                wrong.append(f"{body['id']} by {body['model']}, which had learned {learned} ({place})")
            else:
                reign = found
    return Check("registry: predictions not by the champion of then", predictions, wrong)


def reigns(told: Sequence[Entry]) -> list[Reign]:
    """Return the reigns in their order; a reign that was reverted ends, and the one before it goes on."""
    found: list[Reign] = []
    champions = [""]  # after each entry
    for at, entry in enumerate(told):
        version = champions[-1]
        if entry["change"] == "promoted":
            version = entry["version"]
            found.append(Reign(version, entry.get("learned", 0), _end_of(version, told[at:])))
        elif entry["change"] == "reverted" and champions[entry["figures"]["to"]] != version:
            version = champions[entry["figures"]["to"]]
            found.append(Reign(version, 0, _end_of(version, told[at:])))
        champions.append(version)
    return found


def _end_of(version: str, later: Sequence[Entry]) -> float:
    """Return what a champion had learned when it was replaced, infinity if a crash undid that."""
    for entry in later[1:]:
        if entry["change"] == "reverted":
            return inf
        if entry["version"] == version and entry["change"] in ("demoted", "retired"):
            return float(entry.get("learned", 0))
    return inf


def _reign_of(body: Entry, by_order: Sequence[Reign], start: int) -> int | None:
    for number in range(start, len(by_order)):
        version, begin, end = by_order[number]
        if version == body["model"] and begin - REREAD <= body["learned"] <= end + REREAD:
            return number
    return None


def announced(log: Log) -> Check:
    """Check births and roles against the models topic, whose sequence must rise."""
    messages = [body for body, place in bodies(log, "models") if place.split("/")[1] == "0"]
    own = [body for body in messages if body["role"] != "candidate"]
    wrong = [
        f"sequence {later['sequence']} after {earlier['sequence']}"
        for earlier, later in pairwise(own)
        if later["sequence"] <= earlier["sequence"]
    ]
    told = lasting(entries(log))
    last_roles = {body["version"]: body["role"] for body in own}
    roles = _roles(told)
    wrong += [f"{version} is announced and was never born" for version in last_roles.keys() - roles.keys()]
    wrong += [f"{version} was born and is not announced" for version in roles.keys() - last_roles.keys()]
    wrong += [
        f"{version} is {roles[version]} in the registry, and {last_roles[version]} on the models topic"
        for version in roles.keys() & last_roles.keys()
        if last_roles[version] != _ON_THE_TOPIC.get(roles[version], roles[version])
    ]
    champions = {body["version"] for body in own if body["role"] == "champion"}
    promoted = {entry["version"] for entry in entries(log) if entry["change"] == "promoted"}
    wrong += [f"{version} was champion in one of both only" for version in champions ^ promoted]
    return Check("registry: versions whose roles on the models topic differ", len(roles), wrong)


def lasting(told: Sequence[Entry]) -> list[Entry]:
    """Return the entries without those that were reverted after a crash."""
    found: list[Entry] = []
    for entry in told:
        if entry["change"] == "reverted":
            found = [each for each in found if each["number"] <= entry["figures"]["to"]]
        else:
            found.append(entry)
    return found


def _roles(told: Sequence[Entry]) -> dict[str, str]:
    changes = [each for each in told if each["change"] in _ROLE_AFTER]
    return {each["version"]: _ROLE_AFTER[each["change"]] for each in changes}


def answered(log: Log) -> Check:
    """Check that each command is answered once, by entries in a row, and that nothing else is answered."""
    asked = {body["id"] for body, _ in bodies(log, "commands")}
    rows = Counter(
        command for command, _ in groupby(entry.get("command", "") for entry in lasting(entries(log)))
    )
    del rows[""]
    wrong = [f"{command} has {rows[command]} answers" for command in asked if rows[command] != 1]
    wrong += [f"{command} was answered and not asked" for command in rows.keys() - asked]
    return Check("registry: commands that are not answered once", len(asked), wrong)
