r"""The two window methods that run for every event, generated for each view.

`ask` starts at the positions of the last answer, because most questions are in the order of their times. If
the view excludes an event's own record, that record is subtracted from the counts and sums of the windows
that hold it. See `flows.core.generated_code` for why they are generated.

>>> sums = [Sum(column=0, power=1)]
>>> features = [Feature(3_600_000, "count"), Feature(3_600_000, "mean", 0)]
>>> needs = Needs(features, sums, kept=[], extremes=[], delay=0, reach=3_600_000, excludes_own=False)
>>> print("\n".join(_ask(needs, lateness=10_000)))
def ask(self, time, own_id=None):
    if time > self.newest:
        self.newest = time
    times = self.times
    length = len(times)
    worth = self.WORTH_DROPPING
    if length >= worth and (times[worth - 1] <= self.newest - 3610000 or length > self.RECORDS):
        length = self.drop_expired()
    end = time - 0
    if end >= self.answered:
        stop = self.stop
        while stop < length and times[stop] <= end:
            stop += 1
        start0 = self.start0
        oldest = end - 3600000
        while start0 < stop and times[start0] <= oldest:
            start0 += 1
    else:
        stop = bisect_right(times, end)
        start0 = bisect_right(times, end - 3600000, 0, stop)
    self.answered = end
    self.stop = stop
    self.start0 = start0
    sums0, = self.sums
    start = start0
    count = stop - start
    units0 = sums0[stop] - sums0[start]
    a0 = count
    a1 = float(units0) * ONE / count if count else None
    return [a0, a1]
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from flows.core.features.windows import exact
from flows.core.generated_code import compile_functions

# To find its first item, a dict scans the slots of the items that were removed before it; a copy has none. A
# dict with more ids than this is copied each time that so many records were added.
COPIED = 1024


class Feature(NamedTuple):
    """How to read one feature in a window of `window` ms.

    `read` is "count"; or "sum" or "mean", of the sums number `which`; or "extreme", of the extremes number
    `which`; or a function of the state, the window's two positions, the position of the own record (-1: not
    in the window) and the time asked for.
    """

    window: int
    read: str | Callable[..., Any]
    which: int = -1


class Sum(NamedTuple):
    """Cumulative sums of a column's values (`power` 1) or of their squares (`power` 2)."""

    column: int
    power: int


class Extreme(NamedTuple):
    """The largest or smallest value ("max" or "min") of the kept column number `kept`."""

    kind: str
    kept: int


class Needs(NamedTuple):
    """What the generated methods of a view need.

    `kept` are the columns whose values are kept. `delay` is the view's, and `reach` how long (ms) a record
    can be in a window.
    """

    features: Sequence[Feature]
    sums: Sequence[Sum]
    kept: Sequence[int]
    extremes: Sequence[Extreme]
    delay: int
    reach: int
    excludes_own: bool


def methods(needs: Needs, lateness: int, title: str) -> dict[str, Callable[..., Any]]:
    """Return `add` and `ask` for windows that allow records to be `lateness` ms late.

    `title` names the view in tracebacks.
    """
    names: dict[str, Any] = {
        "bisect_left": bisect_left,
        "bisect_right": bisect_right,
        "ONE": exact.ONE,
        "UNIT": float(exact.UNIT),
    }
    names |= {f"read{n}": feature.read for n, feature in enumerate(needs.features) if callable(feature.read)}
    source = "\n".join([*_add(needs, lateness), *_ask(needs, lateness)])
    return compile_functions(source, title, names)


def _add(needs: Needs, lateness: int) -> Iterator[str]:
    """Yield the source of `add`: append a record that is the newest, and leave the rest to `add_other`."""
    yield "def add(self, time, record_id, values):"
    yield "    seen, before = self.seen, self.newest_record"
    yield f"    if time < before or record_id in seen or time <= self.newest - {lateness + needs.reach}:"
    yield "        return self.add_other(time, record_id, values)"
    yield "    self.times.append(time)"
    yield from _unpacked("sums", len(needs.sums))
    for which, (column, power) in enumerate(needs.sums):
        yield f"    units = int(values[{column}] * UNIT)"
        yield f"    sums{which}.append(sums{which}[-1] + units{' * units' * (power - 1)})"
    yield from _unpacked("kept", len(needs.kept))
    for which, column in enumerate(needs.kept):
        yield f"    kept{which}.append(values[{column}])"
    yield "    self.newest_record = time"
    yield "    if time > self.newest:"
    yield "        self.newest = time"
    if needs.excludes_own:
        yield "    self.ids.append(record_id)"
        yield "    seen[record_id] = time"
    else:
        yield f"    oldest = time - {lateness}"  # an older duplicate would be late
        yield "    if before < oldest:"
        yield "        self.seen = {record_id: time}"
        yield "    else:"
        yield "        seen[record_id] = time"
        yield "        while seen[first := next(iter(seen))] < oldest:"
        yield "            del seen[first]"
        yield f"        if len(seen) > {COPIED} and not (self.base + len(self.times)) % {COPIED}:"
        yield "            self.seen = dict(seen)"
    yield "    return 'added'"


def _ask(needs: Needs, lateness: int) -> Iterator[str]:
    """Yield the source of `ask`: drop expired records, then evaluate the windows as of `time`."""
    yield "def ask(self, time, own_id=None):"
    yield "    if time > self.newest:"
    yield "        self.newest = time"
    yield "    times = self.times"
    yield "    length = len(times)"
    yield "    worth = self.WORTH_DROPPING"
    expired = f"times[worth - 1] <= self.newest - {lateness + needs.reach}"
    yield f"    if length >= worth and ({expired} or length > self.RECORDS):"
    yield "        length = self.drop_expired()"
    yield f"    end = time - {needs.delay}"
    lengths = lengths_of(needs)
    yield from _positions(lengths)
    yield from _unpacked("sums", len(needs.sums))
    if needs.excludes_own:
        yield "    own = self.position(own_id, stop) if own_id in self.seen else -1"
    if needs.extremes:
        yield from _unpacked("kept", len(needs.kept))
    for which, (_, kept) in enumerate(needs.extremes):
        yield f"    best{which} = self.extremes[{which}].candidates(kept{kept}, start0, stop)"
    for number, window in enumerate(lengths):
        yield f"    start = start{number}"
        yield from (f"    {line}" for line in _window(needs, window))
    yield f"    return [{', '.join(f'a{number}' for number in range(len(needs.features)))}]"


def lengths_of(needs: Needs) -> list[int]:
    """Return the lengths of the windows (ms), the longest first."""
    return sorted({feature.window for feature in needs.features}, reverse=True)


def _positions(lengths: Sequence[int]) -> Iterator[str]:
    """Yield the source that finds the windows' positions, from those of the last answer if it was earlier.

    Each record then passes each position once, which takes less time than binary searches.
    """
    places = ["stop", *(f"start{number}" for number in range(len(lengths)))]
    yield "    if end >= self.answered:"
    yield "        stop = self.stop"
    yield "        while stop < length and times[stop] <= end:"
    yield "            stop += 1"
    for number, window in enumerate(lengths):
        yield f"        start{number} = self.start{number}"
        yield f"        oldest = end - {window}"
        yield f"        while start{number} < stop and times[start{number}] <= oldest:"
        yield f"            start{number} += 1"
    yield "    else:"
    yield "        stop = bisect_right(times, end)"
    for number, window in enumerate(lengths):
        after = f"start{number - 1}" if number else "0"
        yield f"        start{number} = bisect_right(times, end - {window}, {after}, stop)"
    yield "    self.answered = end"
    yield from (f"    self.{place} = {place}" for place in places)


def _window(needs: Needs, window: int) -> Iterator[str]:
    inside = [(n, feature) for n, feature in enumerate(needs.features) if feature.window == window]
    sums = sorted({feature.which for _, feature in inside if feature.read in ("sum", "mean")})
    yield "count = stop - start"
    for which in sums:
        yield f"units{which} = sums{which}[stop] - sums{which}[start]"
    if needs.excludes_own:
        yield "if own < start:"
        yield "    own = -1"  # nor is it in any shorter window
        yield "else:"
        yield "    count -= 1"
        for which in sums:
            yield f"    units{which} -= sums{which}[own + 1] - sums{which}[own]"
    own = "own" if needs.excludes_own else "-1"
    for number, feature in inside:
        if feature.read == "extreme":
            yield from _extreme(number, feature.which, needs)
        else:
            yield f"a{number} = {_expression(number, feature, own)}"


def _extreme(number: int, which: int, needs: Needs) -> Iterator[str]:
    """Yield the source that reads a column's extreme from its candidates."""
    kind, kept = needs.extremes[which]
    yield f"first = best{which}[bisect_left(best{which}, start)] if count else -1"
    yield f"a{number} = kept{kept}[first] if count else None"
    if needs.excludes_own:
        yield "if count and first == own:"
        yield f"    a{number} = {kind}(kept{kept}[start:own] + kept{kept}[own + 1:stop])"


def _expression(number: int, feature: Feature, own: str) -> str:
    if feature.read == "count":
        return "count"
    if feature.read == "sum":
        return f"float(units{feature.which}) * ONE"
    if feature.read == "mean":
        return f"float(units{feature.which}) * ONE / count if count else None"
    return f"read{number}(self, start, stop, {own}, time)"


def _unpacked(name: str, count: int) -> Iterator[str]:
    """Yield a line that unpacks a tuple attribute into local names."""
    if count:
        members = ", ".join(f"{name}{number}" for number in range(count))
        yield f"    {members}, = self.{name}"
