"""Figures and tables of a run: exact metrics over all served scores, and what the engine did."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from scipy.stats import rankdata

from flows.backtest import Backtest
from flows.core.cloudevents import DriftSignal
from flows.core.schema import iso
from flows.tables import print_line, print_table

if TYPE_CHECKING:
    from flows.verify import Verification, ViewResult  # which needs DuckDB

_NAMED = 2  # columns that moved furthest, in a table
_SHOWN = 10  # explained or mismatched rows that a table shows


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
    print_line(
        console,
        f"{summary['pipeline']}: {summary['events']:,} events, {summary['labels']:,} labels, "
        f"{summary['dead_letters']:,} dead letters in {summary['seconds']} s "
        f"({summary['events_per_second']:,} events/s)",
    )
    metrics = summary["metrics"]
    names = list(next(iter(metrics.values())))
    rows = [(predictor, *[values[name] for name in names]) for predictor, values in metrics.items()]
    print_table(console, ("predictor", *names), rows)
    if summary["drift"]:
        print_table(console, _DRIFT, [_drift_cells(row) for row in summary["drift"]])


_DRIFT = ("drift", "kind", "severity", "before", "after", "records", "since", "status", "columns")


def _drift_cells(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("time", "kind", "severity", "before", "after", "kept", "since", "status")
    return (*[row[name] for name in names], ", ".join(row["columns"][:_NAMED]))


def verification_summary(run: "Verification", results: Sequence["ViewResult"]) -> dict[str, Any]:
    """The result of `driftline verify features`, ready for JSON."""
    return {
        "questions": run.questions,
        "left_out": dict(run.left_out),
        "refused": dict(run.refused),
        "not_in_the_log": run.not_in_the_log,
        "views": [
            {
                "view": r.view,
                "features": r.features,
                "rows": r.rows,
                "equal": r.equal,
                "explained": r.explained,
                "mismatches": r.mismatches,
                "feast_rows": r.feast_rows,
                "feast_mismatches": r.feast_mismatches,
            }
            for r in results
        ],
        "explanations": [e._asdict() for r in results for e in r.explanations],
        "examples": [e._asdict() for r in results for e in r.examples],
    }


def print_verification(console: Console, run: "Verification", results: Sequence["ViewResult"]) -> None:
    """The same for people, with the first explained and mismatched rows of each view."""
    print_table(console, ("view", *_VERIFIED), [_verified(result) for result in results])
    for why, number in (*run.left_out.items(), *((f"refused as {w}", n) for w, n in run.refused.items())):
        print_line(console, f"not compared: {number:,} {why}")
    if run.not_in_the_log:
        names = ", ".join(run.not_in_the_log)
        print_line(console, f"not compared: {names}: values of the online store, not of the log")
    for r in results:
        _print_rows(console, r)


_VERIFIED = ("rows", "equal", "explained", "mismatches", "as in Feast", "not so")


def _verified(r: "ViewResult") -> tuple[Any, ...]:
    recomputed = [r.rows, r.equal, r.explained, r.mismatches] if r.rows else [None] * 4
    joined = [None] * 2 if r.feast_rows is None else [r.feast_rows - r.feast_mismatches, r.feast_mismatches]
    return (r.view, *recomputed, *joined)


def _print_rows(console: Console, result: "ViewResult") -> None:
    for e in result.explanations[:_SHOWN]:
        came = f"{e.record} came later, at {e.topic}/{e.partition}/{e.offset}"
        print_line(console, f"explained: {e.view} of {e.question}: {came}")
    if result.explained > _SHOWN:
        print_line(console, f"explained: {result.view}: more; --json lists {len(result.explanations):,}")
    for m in result.examples[:_SHOWN]:
        print_line(
            console,
            f"mismatch: {m.view} of {m.question}, key {m.key}: served {list(m.served)}, "
            f"recomputed {list(m.expected)}",
            "red",
        )
