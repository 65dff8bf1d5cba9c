"""Figures and tables of a run: exact metrics over all served scores, and what the engine did."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata

from flows.backtest import Backtest
from flows.core.cloudevents import DriftSignal
from flows.core.schema import iso


def roc_auc(scores: Sequence[float], truths: Sequence[bool]) -> float:
    """The exact area under the ROC curve, by ranks (Mann and Whitney, 1947); ties count half.

    >>> roc_auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    truth = np.asarray(truths, dtype=bool)
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def drift_row(signal: DriftSignal) -> dict[str, Any]:
    """What a table says of a drift signal."""
    return {
        "time": iso(signal.time),
        "detector": signal.detector,
        "severity": signal.severity,
        "before": signal.estimate_before,
        "after": signal.estimate_after,
        "kept": signal.width,
        "since": iso(signal.since),
    }


def backtest_summary(
    test: Backtest, signals: Sequence[DriftSignal], dead_letters: int, seconds: float
) -> dict[str, Any]:
    """The result of a backtest, ready for JSON."""
    learner = test.learner
    events = len(test.served)
    return {
        "pipeline": learner.pipeline,
        "events": events,
        "labels": learner.evaluation.labels,
        "pending": learner.pending,
        "expired": learner.expired,
        "dead_letters": dead_letters,
        "seconds": round(seconds, 1),
        "events_per_second": round(events / seconds),
        "metrics": learner.evaluation.values(),
        "drift": [drift_row(signal) for signal in signals],
    }


def print_backtest(console: Console, summary: dict[str, Any]) -> None:
    """The same for people."""
    console.print(
        f"{summary['pipeline']}: {summary['events']:,} events, {summary['labels']:,} labels, "
        f"{summary['dead_letters']:,} dead letters in {summary['seconds']} s "
        f"({summary['events_per_second']:,} events/s)",
        highlight=False,
    )
    console.print(metrics_table(summary["metrics"]))
    console.print(drift_table(summary["drift"]))


def metrics_table(metrics: dict[str, dict[str, float]]) -> Table:
    """One row for each predictor, one column for each metric."""
    names = list(next(iter(metrics.values())))
    table = Table("predictor", *names)
    for predictor, values in metrics.items():
        table.add_row(predictor, *[f"{values[name]:.4f}" for name in names])
    return table


def drift_table(rows: Sequence[dict[str, Any]]) -> Table:
    """One row for each drift signal."""
    table = Table("drift", "severity", "error before", "after", "labels kept", "since")
    for row in rows:
        table.add_row(
            row["time"],
            row["severity"],
            f"{row['before']:.4f}",
            f"{row['after']:.4f}",
            f"{row['kept']:,}",
            row["since"],
        )
    return table
