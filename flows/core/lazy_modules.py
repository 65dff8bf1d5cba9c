"""Puts off the import of slow modules that other packages import and hardly ever use."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def loaded_later(names: Sequence[str]) -> Iterator[None]:
    """Let what is imported in the block import these modules without loading them.

    What it takes from them loads the module when it is first used. A module that is loaded already is not
    replaced. The parent packages of a module must be named too.
    """
    missing = [name for name in names if name not in sys.modules]
    sys.modules.update({name: _StandIn(name) for name in missing})
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


class _StandIn(ModuleType):
    """Replaces a module while other modules import it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system reads these
            raise AttributeError(name)
        return _Later(self.__name__, name)


class _Later:
    """An attribute of a module that is imported when the attribute is first used."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._load()(*args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._load(), attribute)

    def _load(self) -> Any:
        module, name = self._place
        return getattr(importlib.import_module(module), name)
