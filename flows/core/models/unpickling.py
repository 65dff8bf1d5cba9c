"""Unpickling from a table of known classes: nothing is imported, and no attribute is looked up by name.

The table of a pipeline's models holds what the declared model refers to, and the classes of all modules that
the model's modules import, because a tree creates its leaves only while it learns. It holds a function only
if the declaration refers to it. So no opcode of a signed snapshot reaches other code.
"""

import importlib
import io
import pickle
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from inspect import getattr_static
from types import FunctionType, MethodType, ModuleType
from typing import Any

from flows.core.models.stored_names import Table, stored_place
from flows.errors import ConfigError, SnapshotError

# The classes and functions with which pickle, the standard library and numpy rebuild plain values.
_PLAIN = {
    "builtins": (
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "set",
        "slice", "str", "tuple",
    ),
    "collections": ("Counter", "OrderedDict", "defaultdict", "deque"),
    "copyreg": ("_reconstructor",),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "numpy": ("dtype", "ndarray"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "numpy.random._mt19937": ("MT19937",),
    "numpy.random._pcg64": ("PCG64",),
    "numpy.random._pickle": ("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"),
    "numpy.random.bit_generator": ("SeedSequence", "__pyx_unpickle_SeedSequence"),
    "random": ("Random",),
    "statistics": ("NormalDist",),
}  # fmt: skip
_NO_MODELS = frozenset(
    {"checks", "datasets", "evaluate", "stream"}
)  # packages of River that read, write or eval
_OURS = "flows"


@cache
def plain_values() -> Table:
    """Return the classes and functions that plain values are rebuilt with."""
    return {
        (module, name): getattr(importlib.import_module(module), name)
        for module, names in _PLAIN.items()
        for name in names
    }


def classes_of(modules: Iterable[str]) -> Table:
    """Return the classes that these modules define, and the static methods of those classes."""
    table: dict[tuple[str, str], Any] = {}
    for module in modules:
        for found in list(vars(importlib.import_module(module)).values()):
            if isinstance(found, type) and found.__module__ == module:
                table[module, found.__qualname__] = found
                for name, member in vars(found).items():
                    if isinstance(member, staticmethod):
                        table[module, f"{found.__qualname__}.{name}"] = member.__func__
    return table


def classes_around(modules: Iterable[str]) -> Table:
    """Return the classes of these modules and of what they import from their own packages and River."""
    return classes_of(_reachable(list(modules)))


def classes_of_models(estimators: Iterable[Any]) -> Table:
    """Return the classes and functions that these estimators refer to, before and after they learn.

    Raises `ConfigError` for an estimator that cannot be pickled.
    """
    declared: dict[tuple[str, str], Any] = {}
    for estimator in estimators:
        try:
            recorder = _Recorder(io.BytesIO(pickle.dumps(estimator, protocol=5)))
            recorder.load()
        except Exception as error:  # a declaration is the user's code
            raise ConfigError(
                f"the model must be one that pickle can store, got {type(error).__name__}: {error}; use "
                "functions and classes that are defined at the top of a module"
            ) from error
        declared |= recorder.found
    declared.pop(("builtins", "getattr"), None)  # `Unpickler` replaces it
    homes = {module for module, _ in declared if not _is_plain(module)}
    return {**classes_around(sorted(homes)), **declared}


class Unpickler(pickle.Unpickler):
    """Finds the objects of `table` and the bound methods of its classes, and nothing else."""

    def __init__(self, content: bytes, table: Table) -> None:
        super().__init__(io.BytesIO(content))
        self._table = table

    def find_class(self, module: str, name: str) -> Any:
        found = self._table.get((module, name))
        if found is not None:
            return found
        if (module, name) == ("builtins", "getattr"):
            return self._bound_method
        raise _refusal(module, name)

    def _bound_method(self, owner: Any, name: str) -> MethodType:
        """Return a bound method; pickle stores one as a call of `getattr`.

        No `__getattr__` is called, because that of River's `Rolling` forwards to any object.
        """
        kind = type(owner)
        found = getattr_static(kind, name, None) if type(name) is str else None
        place = stored_place(kind.__module__, kind.__qualname__)
        known = self._table.get(place) is kind and not _is_plain(kind.__module__)
        if known and isinstance(found, FunctionType) and not name.startswith("__"):
            return MethodType(found, owner)
        raise _refusal(kind.__module__, f"{kind.__qualname__}.{name}")


class _Recorder(pickle.Unpickler):
    """Records the objects that a pickle refers to; for pickles made in this process only."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: dict[tuple[str, str], Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        self.found[module, name] = found = super().find_class(module, name)
        return found


def _reachable(modules: list[str]) -> list[str]:
    packages = {"river"} | {module.partition(".")[0] for module in modules} - {_OURS}
    seen, waiting = set(modules), modules
    while waiting:
        following = {name for module in waiting for name in _imports(module)}
        waiting = [name for name in following - seen if _may_define_models(name, packages)]
        seen.update(waiting)
    return sorted(seen)


def _imports(module: str) -> Iterator[str]:
    """Yield the modules that a module imports, and those from which it imports classes and functions."""
    for found in list(vars(importlib.import_module(module)).values()):
        if isinstance(found, ModuleType):
            yield found.__name__
        elif isinstance(found, type | FunctionType):
            yield found.__module__


def _may_define_models(module: str, packages: set[str]) -> bool:
    package, *rest = module.split(".")
    return package in packages and module in sys.modules and _NO_MODELS.isdisjoint(rest)


def _is_plain(module: str) -> bool:
    package = module.partition(".")[0]
    return package == "numpy" or package in sys.stdlib_module_names


def _refusal(module: str, name: str) -> SnapshotError:
    return SnapshotError(
        f"a snapshot refers to {module}.{name}, which is not on the allow-list of the declared model; it was "
        "not read. Was it written by another version of River or the pipeline?"
    )
