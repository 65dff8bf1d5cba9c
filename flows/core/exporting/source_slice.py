r"""The part of a module's source that a function needs: the function, and the names that it uses.

>>> source = "import math, river\nSCALE = 2\n\ndef f(x: int):\n    return math.log(x) * SCALE\n"
>>> print(sliced(source, "f"))
from __future__ import annotations
import math
SCALE = 2
<BLANKLINE>
def f(x: int):
    return math.log(x) * SCALE
"""

import ast
import builtins
import sys
from collections.abc import Iterator

from flows.errors import ConfigError


def sliced(source: str, function: str) -> str:
    """Return the source of a module-level function and of all that it uses, which needs Python only.

    Annotations are kept as text, and what only they use is left out. Raises `ConfigError` if the function
    uses another package, or a name that is not bound by one simple statement of the module.
    """
    statements = [part for each in ast.parse(source).body for part in _split(each)]
    kept: set[int] = set()
    waiting, known = [function], {function}
    while waiting:
        name = waiting.pop()
        for number in _bindings(statements, name, function):
            if number not in kept:
                kept.add(number)
                used = _used(statements[number]) - known
                known |= used
                waiting += sorted(used)
    body = [statements[number] for number in sorted(kept)]
    return f"from __future__ import annotations\n{ast.unparse(ast.Module(body, []))}\n".rstrip("\n")


def _split(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Yield an import of several names as imports of one."""
    if isinstance(statement, ast.Import):
        yield from (ast.Import([alias]) for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        for alias in statement.names:
            yield ast.ImportFrom(statement.module, [alias], statement.level)
    else:
        yield statement


def _bindings(statements: list[ast.stmt], name: str, function: str) -> list[int]:
    """Return the numbers of the statements that bind a name; none for a name of Python."""
    found = [number for number, each in enumerate(statements) if name in _bound(each)]
    others = [each for each in statements if name not in _bound(each) and name in _changed(each)]
    if len(found) > 1 or others or (not found and not hasattr(builtins, name)):
        raise ConfigError(
            f"the function {function!r} must use names that one statement of its module binds, got {name!r}, "
            f"{'which several statements bind or change' if found or others else 'which none binds'}; "
            "change the module, and export a version of the changed pipeline"
        )
    for number in found:
        _check_import(statements[number], function)
    return found


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that a simple statement binds."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Import(names=[alias]):
            return {alias.asname or alias.name.partition(".")[0]}
        case ast.ImportFrom(names=[alias]):
            return {alias.asname or alias.name}
        case ast.Assign() | ast.AnnAssign(value=ast.expr()):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            return {name for target in targets for name in _stored(target)}
    return set()


def _stored(tree: ast.AST) -> set[str]:
    """Return the names that are bound anywhere in a tree."""
    names = [each for each in ast.walk(tree) if isinstance(each, ast.Name)]
    return {each.id for each in names if isinstance(each.ctx, ast.Store)}


def _changed(statement: ast.stmt) -> set[str]:
    """Return the names that a statement which binds nothing itself may bind or change."""
    if isinstance(
        statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
    ):
        return set()
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return {each.id for each in ast.walk(statement) if isinstance(each, ast.Name)}


def _used(statement: ast.stmt) -> set[str]:
    """Return the names that a statement reads, without those in annotations."""
    return {
        node.id
        for node in _evaluated(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    } - _locals(statement)


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _evaluated(child)


def _locals(statement: ast.stmt) -> set[str]:
    """Return the names that are bound within a statement and so need not be the module's."""
    arguments = {each.arg for each in ast.walk(statement) if isinstance(each, ast.arg)}
    inner = {
        each.name
        for each in ast.walk(statement)
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and each is not statement
    }
    return _stored(statement) | arguments | inner


def _check_import(statement: ast.stmt, function: str) -> None:
    match statement:
        case ast.Import(names=[alias]):
            module = alias.name
        case ast.ImportFrom(module=name, level=0):
            module = name or ""
        case ast.ImportFrom():
            module = "a module of its package"
        case _:
            return
    if module.partition(".")[0] not in sys.stdlib_module_names:
        raise ConfigError(
            f"the function {function!r} must use Python's standard library only, got an import of {module}; "
            "change the module, and export a version of the changed pipeline"
        )
