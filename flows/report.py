"""Figures and tables of a run: exact metrics over all served scores, and what the engine did."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from scipy.stats import rankdata

from flows.backtest import Backtest
from flows.core.cloudevents import DriftSignal
from flows.core.dead_tally import Dead, DeadTally
from flows.core.schema import iso
from flows.user_faults import fault_of

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
    test: Backtest, signals: Sequence[DriftSignal], records: int, dead: DeadTally, seconds: float
) -> dict[str, Any]:
    """The result of a backtest of so many `records`, ready for JSON."""
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
    """The same for people."""
    console.print(
        f"{summary['pipeline']}: {summary['events']:,} events, {summary['labels']:,} labels, "
        f"{summary['dead_letters']:,} dead letters in {summary['seconds']} s "
        f"({summary['events_per_second']:,} events/s)",
        highlight=False,
    )
    if summary["outliers"]["events"]:
        console.print(f"outliers: {outliers_text(summary['outliers'])}", highlight=False, markup=False)
    for row in summary["reasons"]:
        _print_plain(console, _reason_line(row))
    fault = summary["fault"]
    if fault and fault["traceback"]:
        _print_plain(console, f"the first error of your own code:\n{fault['traceback']}")
    if summary["labels"]:
        console.print(metrics_table(summary["metrics"]))
    else:
        _print_plain(console, "no metrics: no label met the prediction of its event")
    console.print(drift_table(summary["drift"]))


def outliers_text(outliers: dict[str, Any]) -> str:
    """How many events had outliers, and which numbers most.

    >>> outliers_text({"events": 3, "values": {"fee": 1, "amount": 3}})
    '3 events, most in amount (3), fee (1)'
    """
    most = sorted(outliers["values"].items(), key=lambda each: -each[1])[:_NAMED]
    return f"{outliers['events']:,} events, most in " + ", ".join(f"{name} ({n:,})" for name, n in most)


def backtest_warning(summary: dict[str, Any]) -> str | None:
    """What to say of a backtest that could not use all of its records."""
    dead, records = summary["dead_letters"], summary["records"]
    if not dead:
        return None
    return f"{dead:,} dead letters from {records:,} records ({dead / records:.1%})"


def backtest_failure(summary: dict[str, Any]) -> str | None:
    """Why a backtest says nothing about its model: nothing was scored, or nothing could be learned."""
    if not summary["events"]:
        return "nothing was scored" if summary["records"] else "nothing was scored: the data set is empty"
    if not summary["learned"] and summary["dead_letters"]:
        return "the model learned nothing, so its figures say nothing"
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


def _print_plain(console: Console, text: str) -> None:
    """Print text from outside: no markup is read in it, and control characters are made visible."""
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    console.print(shown, highlight=False, markup=False, soft_wrap=True)


def metrics_table(metrics: dict[str, dict[str, float]]) -> Table:
    """One row for each predictor, one column for each metric."""
    names = list(next(iter(metrics.values())))
    table = Table("predictor", *names)
    for predictor, values in metrics.items():
        table.add_row(predictor, *[f"{values[name]:.4f}" for name in names])
    return table


def drift_table(rows: Sequence[dict[str, Any]]) -> Table:
    """One row for each drift signal."""
    table = Table("drift", "kind", "severity", "before", "after", "records", "since", "status", "columns")
    for row in rows:
        table.add_row(
            row["time"],
            row["kind"],
            row["severity"],
            f"{row['before']:.4f}",
            f"{row['after']:.4f}",
            f"{row['kept']:,}",
            row["since"],
            row["status"],
            ", ".join(row["columns"][:_NAMED]),
        )
    return table


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
    columns = [Column(name, justify="right") for name in _VERIFIED]
    table = Table(Column("view", no_wrap=True), *columns)
    for r in results:
        recomputed = [r.rows, r.equal, r.explained, r.mismatches] if r.rows else [None] * 4
        joined = (
            [None, None] if r.feast_rows is None else [r.feast_rows - r.feast_mismatches, r.feast_mismatches]
        )
        cells = ["" if number is None else f"{number:,}" for number in [*recomputed, *joined]]
        table.add_row(r.view, *cells)
    console.print(table)
    for why, number in (*run.left_out.items(), *((f"refused as {w}", n) for w, n in run.refused.items())):
        console.print(f"not compared: {number:,} {why}", highlight=False)
    if run.not_in_the_log:
        names = ", ".join(run.not_in_the_log)
        console.print(f"not compared: {names}: values of the online store, not of the log", highlight=False)
    for r in results:
        _print_rows(console, r)


_VERIFIED = ("rows", "equal", "explained", "mismatches", "as in Feast", "not so")


def _print_rows(console: Console, result: "ViewResult") -> None:
    for e in result.explanations[:_SHOWN]:
        console.print(
            f"explained: {e.view} of {e.question}: "
            f"{e.record} came later, at {e.topic}/{e.partition}/{e.offset}",
            highlight=False,
        )
    if result.explained > _SHOWN:
        console.print(
            f"explained: {result.view}: more; --json lists {len(result.explanations):,}", highlight=False
        )
    for m in result.examples[:_SHOWN]:
        console.print(
            f"[red]mismatch:[/red] {m.view} of {m.question}, key {m.key}: served {list(m.served)}, "
            f"recomputed {list(m.expected)}",
            highlight=False,
        )
