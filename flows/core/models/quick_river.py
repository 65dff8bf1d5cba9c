"""Loads River in 2 s of processor time instead of 3. Import it before River.

Some modules of River import `scipy.stats` and SQLAlchemy for a rarely used metric, test or reader. These take
longer to load than River itself, so they are loaded at their first use.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_SLOW = ("scipy.stats", "sqlalchemy")


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


class _StandIn(ModuleType):
    """Replaces a module while other modules import it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system reads these
            raise AttributeError(name)
        return _Later(self.__name__, name)


_missing = [name for name in _SLOW if name not in sys.modules]
sys.modules.update({name: _StandIn(name) for name in _missing})
try:
    from river import drift, metrics, preprocessing  # noqa: F401  they import most other modules
finally:
    for _name in _missing:
        del sys.modules[_name]
