"""Loads River so that a flow starts with 2 s of processor time, not 3. To be imported before River.

Some of River's modules import `scipy.stats` and SQLAlchemy, which take longer to load than River itself, for
a metric, a test or a reader that is hardly ever used. Here they are loaded when such a one is first called.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_SLOW = ("scipy.stats", "sqlalchemy")


class _Later:
    """What a module holds under a name; the module is loaded at its first use."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._load()(*args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._load(), attribute)

    def _load(self) -> Any:
        module, name = self._place
        return getattr(importlib.import_module(module), name)


class _StandIn(ModuleType):
    """In place of a module while others import it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system looks at these
            raise AttributeError(name)
        return _Later(self.__name__, name)


_missing = [name for name in _SLOW if name not in sys.modules]
sys.modules.update({name: _StandIn(name) for name in _missing})
try:
    from river import drift, metrics, preprocessing  # noqa: F401  which import most of the others
finally:
    for _name in _missing:
        del sys.modules[_name]
