"""CPU time per event as entities, records of one, pending labels and the length of a run grow tenfold.

On the embedded log; the flows store their state every 2 s. Sizes take turns; a long run is compared with its
own beginning.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from flows.core.stream.broker import Record
from scripts.benchmarks.harness import ten_numbers, windows
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.processes import segment_costs
from scripts.benchmarks.harness.site import BENCH, Site
from scripts.benchmarks.harness.ten_numbers import LABELS
from scripts.benchmarks.parts.features import transactions

FOLDER = BENCH / "growth"
UNIT = "us of CPU time an event"
FEW, MANY = 10_000, 100_000  # entities of each kind, and pending labels
BUSY = (5_000, 50_000)  # records of the only entity within the lateness, which is an eighth of a day
STEP = 10  # ms between two events


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds; `events` is the length of the longest run."""
    yield from _entities(events // 5, runs)
    yield from _records_of_one(events // 5, runs)
    yield from _lengths_and_labels(events, runs)


def _entities(events: int, runs: int) -> Iterator[Figure]:
    """Measure the last `events` events, after two for each entity within half a day."""
    published = {
        size: transactions(2 * size + events, customers=size, terminals=size, a_day=4 * size)
        for size in (FEW, MANY)
    }
    few, many = _costs_of_last(events, published, "entities", runs)
    yield Figure("predict, 10 x entities", f"{FEW:,} entities", UNIT, many, few, False)


def _records_of_one(events: int, runs: int) -> Iterator[Figure]:
    """Measure the last `events` events, after twice as many as lie within the lateness."""
    published = {
        size: transactions(2 * size + events, customers=1, terminals=1, a_day=8 * size) for size in BUSY
    }
    few, many = _costs_of_last(events, published, "records", runs)
    yield Figure("predict, 10 x records of one entity", f"{BUSY[0]:,} records", UNIT, many, few, False)


def _costs_of_last(
    events: int, published: Mapping[int, Iterable[Record]], kind: str, runs: int
) -> Sequence[list[float]]:
    """Return the costs of the last `events` events of each size, after twice the size."""
    sites = {}
    for size, records in published.items():
        sites[size] = windows.site(FOLDER / f"{kind}-{size}")
        sites[size].publish(windows.outgoing(records))
    costs: dict[int, list[float]] = {size: [] for size in sites}
    for _ in range(runs):
        for size, site in sites.items():
            site.forget("predict")
            costs[size] += _predict_costs(site, (2 * size, 2 * size + events))
    return [*costs.values()]


def _predict_costs(site: Site, *segments: tuple[int, int]) -> list[float]:
    with site.run("predict") as program:
        return segment_costs(program, site.predicted, segments)


def _learn_costs(site: Site, *segments: tuple[int, int]) -> list[float]:
    with site.run("learn") as program:
        return segment_costs(program, site.learned, segments)


def _lengths_and_labels(events: int, runs: int) -> Iterator[Figure]:
    site = ten_numbers.site(FOLDER / "ten_numbers")
    site.publish(chain(ten_numbers.event_records(events), ten_numbers.label_records(events, FEW * STEP)))
    tenths = [(events // 50, events // 50 + events // 10), (events - events // 10, events)]
    lengths: dict[str, tuple[list[float], list[float]]] = {"predict": ([], []), "learn": ([], [])}
    pending: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        site.forget("predict", "learn")
        _add(lengths["predict"], _predict_costs(site, *tenths))
        _add(lengths["learn"], _learn_costs(site, *tenths))
        _add(pending, [_pending_cost(site, events, size) for size in (FEW, MANY)])
    for flow, (first, last) in lengths.items():
        yield Figure(f"{flow}, 10 x run length", "the first tenth", UNIT, last, first, False)
    few, many = pending
    yield Figure("learn, 10 x pending labels", f"{FEW:,} pending", UNIT, many, few, False)


def _add(lists: tuple[list[float], list[float]], values: list[float]) -> None:
    for measured, value in zip(lists, values, strict=True):
        measured.append(value)


def _pending_cost(site: Site, events: int, pending: int) -> float:
    """Return the cost of a label while `pending` predictions wait for theirs."""
    site.forget("learn")
    site.recreate([LABELS])
    site.publish(ten_numbers.label_records(events, pending * STEP))
    steady = events - MANY  # labels, before the last predictions are read
    [cost] = _learn_costs(site, (steady // 5, steady))
    return cost
