"""Tables for the terminal: the figures of a run, and the differences between two runs."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from rich.table import Table

from scripts.benchmarks.harness.figures import Document, Figure

FALL = 0.1  # a larger relative change of a result counts as better or worse


class Change(NamedTuple):
    """The results of one figure in two runs."""

    figure: Figure
    before: float
    after: float

    @property
    def gain(self) -> float:
        """The quotient of the results, above 1 if the newer is better.

        >>> Change(Figure("at rest", "", "MB", [400], higher_is_better=False), 500, 400).gain
        1.25
        """
        if not self.before or not self.after:
            return 1.0
        return self.after / self.before if self.figure.higher_is_better else self.before / self.after

    @property
    def verdict(self) -> str:
        """Return "worse" or "better" for a change by more than `FALL`, else ""."""
        return "worse" if self.gain < 1 - FALL else "better" if self.gain > 1 / (1 - FALL) else ""


def changes(old: Document, new: Document) -> Iterator[Change]:
    """Yield the change of each figure that both runs have."""
    before = old.figures()
    for key, figure in new.figures().items():
        if key in before:
            yield Change(figure, before[key].result, figure.result)


def cells(figure: Figure) -> list[str]:
    """Return the baseline's median, ours, and the result with its spread, as text.

    >>> cells(Figure("predict", "bare loop", "events/s", [100, 300, 200], [400, 400, 400]))
    ['400', '200', '0.50 (0.25 to 0.75)']
    >>> cells(Figure("at rest", "", "MB", [400.0]))
    ['', '400', '']
    """
    theirs = number(median(figure.theirs)) if figure.theirs else ""
    return [theirs, number(median(figure.ours)), spread(figure.results) if figure.baseline else ""]


def spread(values: Sequence[float]) -> str:
    """Return the median, and the smallest and largest of several values."""
    middle = number(median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"


def number(value: float) -> str:
    """Return the value with three significant digits, or without decimals.

    >>> number(12345.6), number(45.67), number(0.1234), number(0.00123)
    ('12,346', '45.7', '0.12', '0.0012')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.01 or not value else f"{value:.2g}"


def table(title: str, figures: Iterable[Figure]) -> Table:
    """Return a table with a row for each figure."""
    shown = Table(
        "work", "baseline", "unit", "baseline's", "ours", "ratio", title=title, title_justify="left"
    )
    for figure in figures:
        shown.add_row(figure.work, figure.baseline, figure.unit, *cells(figure))
    return shown


def compare(old: Document, new: Document) -> Table:
    """Return a table of the results in two runs, with the changes beyond `FALL` marked."""
    shown = Table("work", "baseline", "unit", "before", "after", "gain", "")
    for change in changes(old, new):
        numbers = [number(value) for value in (change.before, change.after, change.gain)]
        shown.add_row(
            change.figure.work, change.figure.baseline, change.figure.unit, *numbers, change.verdict
        )
    return shown


def falls(old: Document, new: Document) -> list[str]:
    """Return a line for each result that became worse by more than `FALL`."""
    return [
        f"{change.figure.work} ({change.figure.unit}, against {change.figure.baseline or 'nothing'}) fell "
        f"from {number(change.before)} to {number(change.after)}"
        for change in changes(old, new)
        if change.verdict == "worse"
    ]
