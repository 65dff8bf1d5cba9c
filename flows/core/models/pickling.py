"""Pickling with stable names for the classes of Driftline, at no cost for each object."""

import copyreg
import pickle
from collections.abc import Callable, Iterable
from io import BytesIO
from random import Random
from typing import Any

from flows.core.models.stored_names import MODULE, Table

PROTOCOL = 5

# in place of the generator of each distribution without a seed
_UNSEEDED = Random()  # noqa: S311  for models, not for secrets
_PROTO = pickle.PROTO + bytes([PROTOCOL])


class NamedPickling:
    """Pickles values, with the names of `flows.core.models.stored_names` in place of module paths.

    A pickle begins by looking up each named object of `table` and leaving it on the memo. The pickler has the
    same objects on its own memo, so a class costs a reference of two bytes, as any object seen before.
    A `reducer_override` or a `persistent_id` would be a call for each object.
    """

    def __init__(self, table: Table) -> None:
        named = {name: found for (module, name), found in table.items() if module == MODULE}
        self._preamble = _PROTO + b"".join(map(_memoize, named)) if named else b""
        self._memo = {id(found): (index, found) for index, found in enumerate(named.values())}
        self._reducers = {**copyreg.dispatch_table, **_reducers(table.values())}

    def dumps(self, value: Any) -> bytes:
        """Return the pickle of `value`."""
        file = BytesIO()
        file.write(self._preamble)
        pickler = pickle.Pickler(file, PROTOCOL)
        pickler.memo = self._memo  # which is copied
        pickler.dispatch_table = self._reducers
        pickler.dump(value)
        return file.getvalue()


def _memoize(name: str) -> bytes:
    """Return the opcodes that put a named object on the memo and leave the stack empty."""
    found = pickle.GLOBAL + f"{MODULE}\n{name}\n".encode()
    return found + pickle.MEMOIZE + pickle.POP


def _reducers(objects: Iterable[Any]) -> dict[type, Callable[[Any], Any]]:
    """Return how to pickle the distributions of River among the classes of `objects`.

    Each distribution has a random generator of 2.5 KB, which trees never use. In a forest, these were nine
    tenths of the pickle. The generator of a distribution without a seed is left out; the distributions of a
    restored model share a new one.
    """
    distributions = [found for found in objects if _is_distribution(found)]
    return {Random: _generator, **dict.fromkeys(distributions, _distribution)} if distributions else {}


def _is_distribution(found: Any) -> bool:
    """Return whether an object is a class of distributions; to import theirs takes as long as SciPy."""
    return isinstance(found, type) and any(
        (base.__module__, base.__name__) == ("river.proba.base", "Distribution") for base in found.__mro__
    )


def _distribution(distribution: Any) -> tuple[Any, ...]:
    constructor, arguments, state, *rest = distribution.__reduce_ex__(PROTOCOL)
    if distribution.seed is None:
        state = {**state, "_rng": _UNSEEDED}
    return constructor, arguments, state, *rest


def _generator(generator: Random) -> Any:
    return (Random, ()) if generator is _UNSEEDED else generator.__reduce_ex__(PROTOCOL)
