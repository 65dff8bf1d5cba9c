"""The summary of a backtest, as JSON and as tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from flows.backtest.backtest import Backtest
from flows.core.drift.signal import DriftSignal
from flows.core.stream.dead_tally import Dead, DeadTally
from flows.core.stream.times import iso
from flows.host.printable import printable_lines
from flows.host.tables import print_line, print_table
from flows.runtime.user_faults import fault_of

_NAMED = 2  # the most columns named in a row of a table


def roc_auc(scores: Sequence[float], truths: Sequence[bool]) -> float:
    """Return the exact area under the ROC curve, by ranks (Mann and Whitney, 1947); ties count half.

    >>> roc_auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    truth = np.asarray(truths, dtype=bool)
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    _, places, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[places]  # of equal scores, the mean
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def drift_row(signal: DriftSignal) -> dict[str, Any]:
    """Return a drift signal as a row of a table."""
    return {
        "time": iso(signal.time),
        "kind": signal.kind,
        "status": signal.status,
        "detector": signal.detector,
        "severity": signal.severity,
        "before": signal.estimate_before,
        "after": signal.estimate_after,
        "kept": signal.width,
        "since": iso(signal.since),
        "columns": [column.name for column in signal.columns],
    }


def backtest_summary(
    test: Backtest, signals: Sequence[DriftSignal], records: int, dead: DeadTally, seconds: float
) -> dict[str, Any]:
    """Return the result of a backtest of this number of `records`, as plain data for JSON."""
    learner = test.learner
    events = len(test.served)
    return {
        "pipeline": learner.pipeline,
        "events": events,
        "labels": learner.evaluation.labels,
        "pending": learner.pending,
        "expired": learner.expired,
        "learned": learner.champion.learned,
        "records": records,
        "dead_letters": dead.total,
        "outliers": {"events": learner.outliers.rows, "values": dict(learner.outliers.by_name)},
        "reasons": [
            {"reason": reason, "records": number, "first": _dead_row(dead.first[reason])}
            for reason, number in dead.number.most_common()
        ],
        "fault": fault_of(dead.error)._asdict() if dead.error else None,
        "seconds": round(seconds, 1),
        "events_per_second": round(events / seconds),
        "metrics": learner.evaluation.values(),
        "drift": [drift_row(signal) for signal in signals],
    }


def print_backtest(console: Console, summary: dict[str, Any]) -> None:
    """Print the summary as text and tables."""
    print_line(
        console,
        f"{summary['pipeline']}: {summary['events']:,} events, {summary['labels']:,} labels, "
        f"{summary['dead_letters']:,} dead letters in {summary['seconds']} s "
        f"({summary['events_per_second']:,} events/s)",
    )
    if summary["outliers"]["events"]:
        print_line(console, f"outliers: {outliers_text(summary['outliers'])}")
    for row in summary["reasons"]:
        print_line(console, _reason_line(row))
    fault = summary["fault"]
    if fault and fault["traceback"]:
        print_line(console, "the first error of your own code:")
        console.print(printable_lines(fault["traceback"]), highlight=False, markup=False, soft_wrap=True)
    if summary["labels"]:
        _print_metrics(console, summary["metrics"])
    else:
        print_line(console, "no metrics: no label was joined with a prediction")
    if summary["drift"]:
        print_table(console, _DRIFT, [_drift_cells(row) for row in summary["drift"]])


def outliers_text(outliers: dict[str, Any]) -> str:
    """Return the number of events with outliers, and the features with the most of them.

    >>> outliers_text({"events": 3, "values": {"fee": 1, "amount": 3}})
    '3 events, most in amount (3), fee (1)'
    """
    most = sorted(outliers["values"].items(), key=lambda each: -each[1])[:_NAMED]
    return f"{outliers['events']:,} events, most in " + ", ".join(f"{name} ({n:,})" for name, n in most)


def backtest_warning(summary: dict[str, Any]) -> str | None:
    """Return a warning if the backtest could not use all of its records."""
    dead, records = summary["dead_letters"], summary["records"]
    if not dead:
        return None
    return f"{dead:,} dead letters from {records:,} records ({dead / records:.1%})"


def backtest_failure(summary: dict[str, Any]) -> str | None:
    """Return why the metrics are meaningless, if nothing was scored or nothing was learned."""
    if not summary["events"]:
        return "nothing was scored" if summary["records"] else "nothing was scored: the data set is empty"
    if not summary["learned"] and summary["dead_letters"]:
        return "the model learned nothing, so its metrics are meaningless"
    return None


def _dead_row(dead: Dead) -> dict[str, Any]:
    return {
        "topic": dead.topic,
        "partition": dead.partition,
        "offset": dead.offset,
        "detail": dead.detail,
    }


def _reason_line(row: dict[str, Any]) -> str:
    first = row["first"]
    place = f"{first['topic']}/{first['partition']}/{first['offset']}"
    return f"{row['records']:,} {row['reason']}, the first {place}: {first['detail']}"


def _print_metrics(console: Console, metrics: dict[str, dict[str, float]]) -> None:
    names = list(next(iter(metrics.values())))
    rows = [(predictor, *[values[name] for name in names]) for predictor, values in metrics.items()]
    print_table(console, ("predictor", *names), rows)


_DRIFT = ("drift", "kind", "severity", "before", "after", "records", "since", "status", "columns")


def _drift_cells(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("time", "kind", "severity", "before", "after", "kept", "since", "status")
    return (*[row[name] for name in names], ", ".join(row["columns"][:_NAMED]))
