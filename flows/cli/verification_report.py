"""The result of `driftline verify features`, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flows.host.tables import print_line, print_table

if TYPE_CHECKING:
    from flows.jobs.verify import Verification  # imports DuckDB, which is slow
    from flows.jobs.verify_results import ViewResult

_SHOWN = 10  # the most explained or mismatched rows that are printed


def verification_summary(run: Verification, results: Sequence[ViewResult]) -> dict[str, Any]:
    """Return the result of `driftline verify features` as plain data for JSON."""
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


def print_verification(console: Console, run: Verification, results: Sequence[ViewResult]) -> None:
    """Print the result as a table, with the first explained and mismatched rows of each view."""
    print_table(console, ("view", *_VERIFIED), [_verified(result) for result in results])
    for why, number in (*run.left_out.items(), *((f"refused as {w}", n) for w, n in run.refused.items())):
        print_line(console, f"not compared: {number:,} {why}")
    if run.not_in_the_log:
        names = ", ".join(run.not_in_the_log)
        print_line(console, f"not compared: {names}: values of the online store, not of the log")
    for r in results:
        _print_rows(console, r)


_VERIFIED = ("rows", "equal", "explained", "mismatches", "equal in Feast", "unequal")


def _verified(r: ViewResult) -> tuple[Any, ...]:
    recomputed = [r.rows, r.equal, r.explained, r.mismatches] if r.rows else [None] * 4
    joined = [None] * 2 if r.feast_rows is None else [r.feast_rows - r.feast_mismatches, r.feast_mismatches]
    return (r.view, *recomputed, *joined)


def _print_rows(console: Console, result: ViewResult) -> None:
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
