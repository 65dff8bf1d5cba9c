"""Compiles functions from source text; the only module of Driftline that runs generated code.

The window methods run for every event. Written as loops over a view's features they take twice the CPU time;
see `docs/decisions/generated-code.md`. Source must be made of numbers and names, never of text from a record.
"""

import linecache
from collections.abc import Callable, Mapping
from typing import Any

_Function = Callable[..., Any]


def compile_functions(source: str, title: str, names: Mapping[str, Any]) -> dict[str, _Function]:
    r"""Return the functions that `source` defines, by name; `names` are the globals they may use.

    Tracebacks show `title` as the file and quote the line of `source`.

    >>> compile_functions("def double(x):\n    return 2 * x", "double", {})["double"](21)
    42
    """
    file = f"<generated {title}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    functions: dict[str, _Function] = {}
    exec(compile(source, file, "exec"), {"__name__": __name__, **names}, functions)  # noqa: S102  see above
    return functions
