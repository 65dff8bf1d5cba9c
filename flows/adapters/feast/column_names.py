"""Names of Feast views, keys and features that Feast and DuckDB can take as columns of a join."""

from collections.abc import Iterator, Sequence

from flows.core import arguments

# columns of Feast's point-in-time join; DuckDB ignores their case
RESERVED = ("event_timestamp", "created", "entity_row_id", "event_expire_timestamp")


def faults(view: str, keys: Sequence[str], columns: Sequence[str]) -> Iterator[str]:
    """Yield the faults of a view's names, with advice; `columns` may contain the keys.

    >>> list(faults("sales", ["shop"], ["shop", "created"]))
    ["'created' is the name of a column that Feast's joins make; rename it"]
    """
    features = sorted(name for name in columns if name not in keys)  # Feast's order differs between processes
    for what, names in (("its name", [view]), ("join key", keys), ("feature", features)):
        for name in names:
            fault = arguments.name(name)
            if fault is not None:
                yield f"{what} {arguments.shown(name)} {fault}"
    if "__" in view:
        yield "its name must not have '__', which separates it from its features' names"
    for name in (*keys, *features):
        if name.lower() in RESERVED:
            yield f"{name!r} is the name of a column that Feast's joins make; rename it"
    for name in features:
        if name.endswith("_y"):
            yield f"{name!r} ends with '_y', and Feast's join drops such columns; rename it"
    lower = [name.lower() for name in (*keys, *features)]
    for name in (*keys, *features):
        if lower.count(name.lower()) > 1:
            yield f"{name!r} differs from another column in upper and lower case only; rename it"
