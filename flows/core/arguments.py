"""Rules for the arguments of a declaration, and errors with the place of the declaration.

A rule takes a value and returns what is wrong with it, as the rest of a sentence, or None.
"""

import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from math import inf, isnan
from typing import Any

from flows.errors import ConfigError

Rule = Callable[[Any], str | None]

LONGEST_NAME = 249  # characters of a topic's name in Kafka
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_SHOWN = 60  # characters of a value in an error


def check(what: str, declared: object, rules: Mapping[str, Rule]) -> None:
    """Raise `ConfigError` for the first member of `declared` that breaks its rule."""
    for member, rule in rules.items():
        if fault := rule(getattr(declared, member)):
            raise refused(f"{what}: `{member}` {fault}")


def refuse_any(what: str, faults: Iterable[str]) -> None:
    """Raise `ConfigError` for the first of `faults`, if there is one."""
    for fault in faults:
        raise refused(f"{what}: {fault}")


def refused(text: str) -> ConfigError:
    """Return the error for a wrong declaration, with the file and line of the user's code."""
    place = _place()
    return ConfigError(f"{place}: {text}" if place else text)


def _place() -> str:
    """Return the innermost caller outside the engine as "file:line".

    The shipped pipelines count as outside.
    """
    frame = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        file = frame.f_code.co_filename
        is_ours = module.partition(".")[0] == "flows" and not module.startswith("flows.pipelines.")
        if not is_ours and module != "dataclasses" and not file.startswith("<"):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]  # None for the outermost frame
    return ""


def shown(value: object) -> str:
    """Return the value as text for a message, shortened.

    >>> shown("region"), shown(str)
    ("'region'", 'the class str')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def name(value: Any) -> str | None:
    """Check a name that is valid for a Kafka topic.

    >>> name("card-fraud.v2"), name("../x")
    (None, "must have only letters, digits, '.', '_' and '-', got '../x'")
    """
    return name_with_room(0)(value)


def name_with_room(room: int) -> Rule:
    """Return the rule for a name to which up to `room` characters are appended to name a topic."""
    longest = LONGEST_NAME - room

    def rule(value: Any) -> str | None:
        if type(value) is not str:
            return f"must be a str, got {shown(value)}"
        if not 0 < len(value) <= longest:
            return f"must have 1 to {longest} characters, got {len(value)}"
        if value in (".", ".."):
            return f"must not be {value!r}"
        if not _NAME.fullmatch(value):
            return f"must have only letters, digits, '.', '_' and '-', got {shown(value)}"
        return None

    return rule


def text(value: Any) -> str | None:
    """Check a text that is not empty."""
    return None if type(value) is str and value else f"must be a non-empty str, got {shown(value)}"


def flag(value: Any) -> str | None:
    """Check a bool."""
    return None if type(value) is bool else f"must be True or False, got {shown(value)}"


def function(value: Any) -> str | None:
    """Check a callable."""
    return None if callable(value) else f"must be a function or a class, got {shown(value)}"


def mapping(value: Any) -> str | None:
    """Check a mapping with keys of type str."""
    if isinstance(value, Mapping) and all(type(key) is str for key in value):
        return None
    return f"must be a dict with str keys, got {shown(value)}"


def number(value: Any) -> str | None:
    """Check a number other than NaN."""
    if type(value) not in (int, float) or isnan(value):
        return f"must be a number, got {shown(value)}"
    return None


def share(value: Any) -> str | None:
    """Check a number above 0 and below 1."""
    if number(value) or not 0 < value < 1:
        return f"must be a number above 0 and below 1, got {shown(value)}"
    return None


def part(value: Any) -> str | None:
    """Check a number of at least 0 and below 1."""
    if number(value) or not 0 <= value < 1:
        return f"must be a number of at least 0 and below 1, got {shown(value)}"
    return None


def at_least(least: float) -> Rule:
    """Return the rule for a finite number of at least `least`.

    >>> at_least(0.0)(-1.5)
    'must be a number of at least 0.0, got -1.5'
    """

    def rule(value: Any) -> str | None:
        if number(value) or not least <= value < inf:
            return f"must be a number of at least {least}, got {shown(value)}"
        return None

    return rule


def whole(least: int) -> Rule:
    """Return the rule for a whole number of at least `least`."""

    def rule(value: Any) -> str | None:
        if type(value) is not int or value < least:
            return f"must be a whole number of at least {least}, got {shown(value)}"
        return None

    return rule


def duration(value: Any) -> str | None:
    """Check a timedelta that is not negative."""
    if not isinstance(value, timedelta):
        return f"must be a timedelta, such as timedelta(hours=3), got {shown(value)}"
    return f"must not be negative, got {value}" if value < timedelta(0) else None


def one_of(choice: Collection[Any]) -> Rule:
    """Return the rule for a value among `choice`, of the same type."""

    def rule(value: Any) -> str | None:
        if any(type(value) is type(each) and value == each for each in choice):
            return None
        return f"must be one of {', '.join(map(repr, choice))}, got {shown(value)}"

    return rule


def instance_of(*types: type) -> Rule:
    """Return the rule for an instance of one of the types."""
    names = " or ".join(each.__name__ for each in types)

    def rule(value: Any) -> str | None:
        return None if isinstance(value, types) else f"must be a {names}, got {shown(value)}"

    return rule


def optional(rule: Rule) -> Rule:
    """Return the rule that also allows None."""
    return lambda value: None if value is None else rule(value)


def several(rule: Rule, example: str) -> Rule:
    """Return the rule for a tuple of distinct members that each follow `rule`."""

    def of_all(value: Any) -> str | None:
        if type(value) is str:
            return f"must be a tuple, got {shown(value)}; write {shown((value,))}"
        if not isinstance(value, tuple | list):
            return f"must be a tuple, such as {example}, got {shown(value)}"
        for number, each in enumerate(value):
            if fault := rule(each):
                return f"must be a tuple, such as {example}; its member {number} {fault}"
            if each in value[:number]:
                return f"must not have {shown(each)} twice"
        return None

    return of_all
