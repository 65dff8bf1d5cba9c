"""Pickling with stable names for the classes of Driftline, at no cost for each object."""

import pickle
from io import BytesIO
from typing import Any

from flows.core.models.stored_names import MODULE, Table

PROTOCOL = 5

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

    def dumps(self, value: Any) -> bytes:
        """Return the pickle of `value`."""
        file = BytesIO()
        file.write(self._preamble)
        pickler = pickle.Pickler(file, PROTOCOL)
        pickler.memo = self._memo  # which is copied
        pickler.dump(value)
        return file.getvalue()


def _memoize(name: str) -> bytes:
    """Return the opcodes that put a named object on the memo and leave the stack empty."""
    found = pickle.GLOBAL + f"{MODULE}\n{name}\n".encode()
    return found + pickle.MEMOIZE + pickle.POP
