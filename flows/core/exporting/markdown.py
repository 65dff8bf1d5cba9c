"""Markdown from data: text of records cannot become markup."""

import re
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

_MARKUP = re.compile(r"[\\`*\[\]<>|~&]|(?<!\w)_++|_++(?![^\W_])")  # an underscore within a word is none
_BLOCK = re.compile(r"^(?:(\d+)(?=[.)](?: |$))|(?=[-+#=](?!\d)))")  # what begins a list or a heading
_BREAKS = re.compile(r"\s+")


def escaped(text: str) -> str:
    r"""Return the text as one line whose characters mean themselves.

    >>> print(escaped("a|b_c\n<d>"), escaped("1. _e_"))
    a\|b_c \<d\> 1\. \_e\_
    """
    line = _BREAKS.sub(" ", text).strip()
    return _BLOCK.sub(r"\1\\", _MARKUP.sub(lambda found: "".join(f"\\{c}" for c in found[0]), line))


def cell(value: Any) -> str:
    r"""Return a value as the cell of a table: numbers in four digits, a missing one as a dash.

    >>> cell(1234), cell(0.123456), cell(float("nan")), cell(None)
    ('1,234', '0.1235', '-', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if isfinite(value) else "-"
    return escaped(str(value))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table, or "None." without rows.

    >>> print(table(("a", "b"), [(1, "x")]))
    | a | b |
    |---|---|
    | 1 | x |
    """
    lines = [_line(map(cell, row)) for row in rows]
    if not lines:
        return "None."
    return "\n".join([_line(head), "|" + "---|" * len(head), *lines])


def items(texts: Iterable[str]) -> str:
    """Return a list with a bullet for each text, which may hold markup."""
    return "\n".join(f"- {text}" for text in texts)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
