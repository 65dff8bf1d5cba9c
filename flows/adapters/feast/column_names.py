"""The names of Feast views, of their keys and features: Feast joins them as columns of DuckDB."""

from collections.abc import Iterator, Sequence

from flows.core import arguments

# columns that Feast's point-in-time join makes; DuckDB does not tell their case
RESERVED = ("event_timestamp", "created", "entity_row_id", "event_expire_timestamp")


def faults(view: str, keys: Sequence[str], columns: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """Whether each rule is broken, with the advice; the keys may be among the `columns`.

    >>> [advice for broken, advice in faults("sales", ["shop"], ["shop", "created"]) if broken]
    ["'created' is the name of a column that Feast's joins make; rename it"]
    """
    features = sorted(name for name in columns if name not in keys)  # Feast's own order differs by process
    for what, names in (("its name", [view]), ("join key", keys), ("feature", features)):
        for name in names:
            fault = arguments.name(name)
            yield fault is not None, f"{what} {arguments.shown(name)} {fault}"
    yield "__" in view, "its name must not have '__', which separates it from its features' names"
    for name in (*keys, *features):
        yield (
            name.lower() in RESERVED,
            f"{name!r} is the name of a column that Feast's joins make; rename it",
        )
    for name in features:
        yield name.endswith("_y"), f"{name!r} ends with '_y', and Feast's join drops such columns; rename it"
    lower = [name.lower() for name in (*keys, *features)]
    for name in (*keys, *features):
        yield (
            lower.count(name.lower()) > 1,
            f"{name!r} differs from another column in upper and lower case only; rename it",
        )
