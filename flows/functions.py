"""Functions that a declaration names, so that flows can load them without importing Feast."""

import importlib
import inspect
from hashlib import sha256
from typing import Any

from flows.core.plan import Transform
from flows.core.transforms import Function
from flows.core.user_code import describe
from flows.errors import ConfigError


def reference(function: Any) -> str:
    """The function as `module:name`, or "" where that does not give it again.

    >>> reference(reference), reference(lambda: 0)
    ('flows.functions:reference', '')
    """
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, TypeError, ValueError):
        return ""
    return f"{module}:{name}" if found is function else ""


def source_hash(function: Any) -> str:
    """Twelve hexadecimal digits that change when the function's source does."""
    return sha256(inspect.getsource(function).encode()).hexdigest()[:12]


def load_function(transform: Transform) -> Function:
    """The function of a transform; raises `ConfigError` unless it is the one that was applied."""
    module, _, name = transform.function.partition(":")
    try:
        function: Function = getattr(importlib.import_module(module), name)
    except Exception as error:  # a declaration is the user's code
        raise ConfigError(
            f"transform {transform.name!r}: cannot load {transform.function!r} "
            f"({describe(error)}); correct it and run `driftline apply`"
        ) from error
    if source_hash(function) != transform.code:
        raise ConfigError(
            f"transform {transform.name!r}: the code of {transform.function!r} is not what was applied; "
            "run `driftline apply`"
        )
    return function
