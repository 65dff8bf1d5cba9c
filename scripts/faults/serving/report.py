"""The table of what callers of `driftline serve` got, and how long it took."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.table import Table

from scripts.benchmarks.harness.probe import percentile
from scripts.faults.serving.callers import NO_ANSWER, Attempt, Callers


def attempts_table(callers: Callers) -> Table:
    """Return a table of the attempts: their statuses, and the latencies of the successful ones."""
    shown = Table("request", "attempts", "by status", "p50, ms", "p99, ms", "longest, ms")
    by_kind: defaultdict[str, list[Attempt]] = defaultdict(list)
    for attempt in callers.attempts:
        by_kind[attempt.kind].append(attempt)
    for kind, attempts in {**dict(sorted(by_kind.items())), "all": callers.attempts}.items():
        statuses = Counter(attempt.status for attempt in attempts)
        took = [attempt.seconds for attempt in attempts if attempt.status.startswith("2")]
        shown.add_row(kind, f"{len(attempts):,}", _counts(statuses), *_latencies(took))
    waited = callers.waited
    shown.add_row("from due until answered, with repetitions", f"{len(waited):,}", "", *_latencies(waited))
    return shown


def _counts(statuses: Mapping[str, int]) -> str:
    ordered = sorted(statuses.items(), key=lambda each: (each[0] == NO_ANSWER, each[0]))
    return ", ".join(f"{status}: {count:,}" for status, count in ordered)


def _latencies(seconds: Sequence[float]) -> list[str]:
    if not seconds:
        return ["", "", ""]
    return [f"{1000 * percentile(seconds, share):,.1f}" for share in (0.5, 0.99, 1.0)]
