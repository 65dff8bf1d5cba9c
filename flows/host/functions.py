"""User functions referenced by name, so that flows can load them without importing Feast."""

import ast
import importlib
import inspect
import sys
import tokenize
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from flows.core.features.plan import FeaturePlan, Transform
from flows.core.features.transforms import Function, Transformer
from flows.core.user_code import describe
from flows.errors import ConfigError


def reference(function: Any) -> str:
    """Return the function as `module:name`, or "" if that reference does not lead back to it.

    >>> reference(reference), reference(lambda: 0)
    ('flows.host.functions:reference', '')
    """
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, TypeError, ValueError):
        return ""
    return f"{module}:{name}" if found is function else ""


def source_hash(function: Any) -> str:
    """Return twelve hexadecimal digits that change when the function's source does."""
    return _hash(inspect.getsource(function))


def _hash(source: str) -> str:
    return sha256(source.encode()).hexdigest()[:12]


def load_function(transform: Transform) -> Function:
    """Return the function of a transform; raises `ConfigError` if its source differs from what was applied.

    The source is compared before the module is imported.
    """
    module, _, name = transform.function.partition(":")
    try:
        applied = transform.code in map(_hash, _sources(module, name))
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        raise _cannot_load(transform, error) from error
    if not applied:
        raise ConfigError(
            f"transform {transform.name!r}: the code of {transform.function!r} is not what was applied; "
            "run `driftline apply`"
        )
    try:
        function: Function = getattr(importlib.import_module(module), name)
    except Exception as error:  # the module is user code
        raise _cannot_load(transform, error) from error
    return function


def _cannot_load(transform: Transform, error: Exception) -> ConfigError:
    return ConfigError(
        f"transform {transform.name!r}: cannot load {transform.function!r} "
        f"({describe(error)}); correct it and run `driftline apply`"
    )


def _sources(module: str, name: str) -> list[str]:
    """Return the sources of the functions of this name in a module's file, without importing it.

    Raises `ImportError` if there is none.
    """
    lines = source_of_module(module).splitlines(keepends=True)
    lines[-1:] = [line.rstrip("\n") + "\n" for line in lines[-1:]]
    found = [
        "".join(inspect.getblock(lines[min(d.lineno for d in (node, *node.decorator_list)) - 1 :]))
        for node in ast.walk(ast.parse("".join(lines)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]
    if not found:
        raise ImportError(f"module {module!r} defines no function {name!r}")
    return found


def source_of_module(module: str) -> str:
    """Return the source of a module, without importing it; raises `ImportError` if it has none."""
    with tokenize.open(_file_of(module)) as file:
        return file.read()


def _file_of(module: str) -> str:
    """Return the source file of a module; `importlib.util.find_spec` would import its packages."""
    path: Sequence[str] | None = None
    package = ""
    for part in module.split("."):
        package = f"{package}.{part}" if package else part
        specs = (finder.find_spec(package, path) for finder in sys.meta_path)
        spec = next((found for found in specs if found is not None), None)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {package!r}")
        path = spec.submodule_search_locations
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ImportError(f"module {module!r} has no source file")
    return spec.origin


def load_transformer(plan: FeaturePlan) -> Transformer:
    """Return the row transforms of the plan, ready to run; raises `ConfigError` as `load_function` does."""
    return Transformer(plan, {transform.name: load_function(transform) for transform in plan.transforms})
