"""Figures and tables of a run."""

from math import isnan
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flows.core.cloudevents import DriftSignal, signal_id
from flows.report import backtest_summary, drift_row, print_backtest, roc_auc

SIGNAL = DriftSignal(
    id=signal_id("p", "concept", "adwin", "critical", "firing", ("labels", 0, 4711), 1_357_000_000_000),
    pipeline="p",
    model_version="v1",
    detector="adwin",
    kind="concept",
    level="alarm",
    severity="critical",
    sequence=1,
    time=1_357_035_300_000,
    estimate_before=0.2,
    estimate_after=0.35,
    width=12_345,
    since=1_357_000_000_000,
    topic="labels",
    partition=0,
    offset=4711,
)
METRICS = {"model": {"ROCAUC": 0.7654321, "LogLoss": 0.5}, "majority": {"ROCAUC": 0.5, "LogLoss": 0.6}}


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]) | st.floats(0, 1), st.booleans()), max_size=60
    )
)
def test_the_area_under_the_roc_curve_is_the_share_of_pairs_in_the_right_order(rows):
    late = [score for score, truth in rows if truth]
    on_time = [score for score, truth in rows if not truth]
    pairs = [(a > b) + 0.5 * (a == b) for a in late for b in on_time]
    area = roc_auc([score for score, _ in rows], [truth for _, truth in rows])
    if pairs:
        assert area == pytest.approx(sum(pairs) / len(pairs))
    else:
        assert isnan(area)


def test_a_drift_signal_is_told_with_times_that_a_reader_understands():
    assert drift_row(SIGNAL) == {
        "time": "2013-01-01T10:15:00.000Z",
        "kind": "concept",
        "status": "firing",
        "detector": "adwin",
        "severity": "critical",
        "before": 0.2,
        "after": 0.35,
        "kept": 12_345,
        "since": "2013-01-01T00:26:40.000Z",
        "columns": [],
    }


def summary() -> dict:
    evaluation = SimpleNamespace(labels=1200, values=lambda: METRICS)
    outliers = SimpleNamespace(rows=4, by_name={"fee": 1, "amount": 3})
    learner = SimpleNamespace(pipeline="p", evaluation=evaluation, pending=3, expired=2, outliers=outliers)
    test = SimpleNamespace(learner=learner, served=dict.fromkeys(range(5000), 0.5))
    return backtest_summary(test, [SIGNAL], 7, 2.0)


def test_the_summary_of_a_backtest_counts_what_happened():
    assert summary() == {
        "pipeline": "p",
        "events": 5000,
        "labels": 1200,
        "pending": 3,
        "expired": 2,
        "dead_letters": 7,
        "outliers": {"events": 4, "values": {"fee": 1, "amount": 3}},
        "seconds": 2.0,
        "events_per_second": 2500,
        "metrics": METRICS,
        "drift": [drift_row(SIGNAL)],
    }


def test_people_get_the_same_as_tables():
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    print_backtest(console, summary())
    shown = console.export_text()
    for part in (
        "5,000 events",
        "1,200 labels",
        "7 dead letters",
        "outliers: 4 events, most in amount (3), fee (1)",
        "2,500 events/s",
        "0.7654",
        "majority",
        "12,345",
    ):
        assert part in shown
