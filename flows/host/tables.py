"""Prints tables and lines for people, without truncation to the width of the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from flows.host.printable import printable

_UNLIMITED = 100_000  # columns, for a file or a pipe
_FRAME = 3  # columns of the frame per cell; the last cell has one more


def console() -> Console:
    """Return a console on standard output, as wide as the terminal; a file or a pipe has no limit."""
    made = Console(highlight=False, markup=False, emoji=False)
    if not made.file.isatty():
        made.width = _UNLIMITED
    return made


def print_line(to: Console, text: str, style: str = "") -> None:
    """Print a text as one line; it may contain text from records."""
    to.print(Text(printable(text), style), soft_wrap=True)


def print_table(to: Console, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print the rows as a table; print each row as a list of its cells if the table is too wide.

    Integers get thousands separators, floats four decimals; None is an empty cell.
    """
    names = [printable(name) for name in names]
    shown = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(names, *shown, strict=True)]
    if sum(widths) + _FRAME * len(widths) + 1 <= to.width:
        to.print(_table(names, rows, shown))
        return
    widest = max(map(cell_len, names))
    for row in shown:
        for name, cell in zip(names, row, strict=True):
            to.print(Text.assemble((f"{name:<{widest}}  ", "bold"), cell), soft_wrap=True)
        to.print()


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]], shown: Sequence[Sequence[str]]) -> Table:
    columns = zip(*rows, strict=True) if rows else ([],) * len(names)
    table = Table(*[_column(name, cells) for name, cells in zip(names, columns, strict=True)])
    for row in shown:
        table.add_row(*map(Text, row))
    return table


def _column(name: str, cells: Sequence[Any]) -> Column:
    are_numbers = all(isinstance(cell, int | float) or cell is None for cell in cells)
    return Column(name, no_wrap=True, justify="right" if are_numbers and cells else "left")


def _text(cell: Any) -> str:
    match cell:
        case None:
            return ""
        case bool() | str():
            return printable(str(cell))
        case int():
            return f"{cell:,}"
        case float():
            return f"{cell:.4f}"
    return printable(str(cell))
