"""One function for each view that reads all of its windows at once.

It is made as source from the view's declaration, as `dataclasses` makes `__init__`: most of what a feature
costs in Python is the call that computes it. The longest window comes first, so that each shorter one is
looked for in what is left. For a count, a sum and a mean over one hour and one column the source is

    def read(state, end, stop, own, time):
        times, start = state._times, 0
        sums0 = state._sums[0]
        start = bisect_right(times, end - 3600000, start, stop)
        count = stop - start
        units0 = sums0[stop] - sums0[start]
        a0 = count
        a1 = float(units0) * one
        a2 = float(units0) * one / count if count else None
        return [a0, a1, a2]

and a view that leaves an event's own record out takes it, where the window holds it, from counts and units.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from flows.core import exact

ReadAll = Callable[[Any, int, int, int, int], list[Any]]


class Feature(NamedTuple):
    """A feature to read: its window (ms), and how.

    `read` is "count", or "sum" or "mean" of the cumulative sums number `which`, or a function of the state,
    the window's two positions, the own record's (-1: not in the window) and the time asked for.
    """

    window: int
    read: str | Callable[..., Any]
    which: int = -1


def read_all(features: Sequence[Feature], excludes_own: bool) -> ReadAll:
    """A function that gives all features of a window state, in order.

    It takes the state, where the windows end (ms), how many records are before that, the position of the own
    record or -1, and the time asked for (ms).
    """
    names: dict[str, Any] = {"bisect_right": bisect_right, "one": exact.ONE}
    names |= {f"read{n}": feature.read for n, feature in enumerate(features) if callable(feature.read)}
    exec("\n    ".join(_lines(features, excludes_own)), names)  # noqa: S102  of numbers and names made here
    read: ReadAll = names["read"]
    return read


def _lines(features: Sequence[Feature], excludes_own: bool) -> Iterator[str]:
    yield "def read(state, end, stop, own, time):"
    yield "times, start = state._times, 0"
    for which in sorted({feature.which for feature in features} - {-1}):
        yield f"sums{which} = state._sums[{which}]"
    for window in sorted({feature.window for feature in features}, reverse=True):
        inside = [(n, feature) for n, feature in enumerate(features) if feature.window == window]
        units = sorted({feature.which for _, feature in inside} - {-1})
        yield f"start = bisect_right(times, end - {window}, start, stop)"
        yield "count = stop - start"
        for which in units:
            yield f"units{which} = sums{which}[stop] - sums{which}[start]"
        if excludes_own:
            yield "if own < start:"
            yield "    own = -1"  # nor is it in any shorter window
            yield "else:"
            yield "    count -= 1"
            for which in units:
                yield f"    units{which} -= sums{which}[own + 1] - sums{which}[own]"
        for number, feature in inside:
            yield f"a{number} = {_expression(number, feature)}"
    yield f"return [{', '.join(f'a{number}' for number in range(len(features)))}]"


def _expression(number: int, feature: Feature) -> str:
    if feature.read == "count":
        return "count"
    if feature.read == "sum":
        return f"float(units{feature.which}) * one"
    if feature.read == "mean":
        return f"float(units{feature.which}) * one / count if count else None"
    return f"read{number}(state, start, stop, own, time)"
