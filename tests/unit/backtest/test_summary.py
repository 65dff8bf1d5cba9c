"""The figures and tables of a backtest's report."""

from math import isnan
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from signals import CONCEPT_ALARM as SIGNAL

from flows.backtest.summary import (
    backtest_failure,
    backtest_summary,
    backtest_warning,
    drift_row,
    print_backtest,
    roc_auc,
)
from flows.core.stream.dead_tally import Dead, DeadTally

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


def summary(
    events: int = 5000,
    records: int = 7000,
    learned: int = 1200,
    labels: int = 1200,
    dead: DeadTally | None = None,
) -> dict:
    evaluation = SimpleNamespace(labels=labels, values=lambda: METRICS)
    learner = SimpleNamespace(
        pipeline="p",
        evaluation=evaluation,
        pending=3,
        expired=2,
        champion=SimpleNamespace(learned=learned),
        outliers=SimpleNamespace(rows=4, by_name={"fee": 1, "amount": 3}),
    )
    test = SimpleNamespace(learner=learner, served=dict.fromkeys(range(events), 0.5))
    return backtest_summary(test, [SIGNAL], records, dead or DeadTally(), 2.0)


def tally() -> DeadTally:
    """Two schema faults and one of a model, which raised an error in this file."""
    counted = DeadTally()
    for offset in (3, 9):
        counted.add(Dead("orders", 0, offset, "schema", "items must be a number, got '\x1b[31mx'"))
    counted.add(Dead("orders", 0, 5, "model", "the model cannot score it: NameError: x"))
    try:
        raise NameError("name 'itmes' is not defined")
    except NameError as error:
        counted.failed(error)
    counted.failed(ValueError("a later one"))
    return counted


def test_the_summary_of_a_backtest_counts_what_happened():
    counted = summary(dead=tally())
    fault = counted.pop("fault")
    assert counted == {
        "pipeline": "p",
        "events": 5000,
        "labels": 1200,
        "pending": 3,
        "expired": 2,
        "learned": 1200,
        "records": 7000,
        "dead_letters": 3,
        "outliers": {"events": 4, "values": {"fee": 1, "amount": 3}},
        "reasons": [
            {
                "reason": "schema",
                "records": 2,
                "first": {
                    "topic": "orders",
                    "partition": 0,
                    "offset": 3,
                    "detail": "items must be a number, got '\x1b[31mx'",
                },
            },
            {
                "reason": "model",
                "records": 1,
                "first": {
                    "topic": "orders",
                    "partition": 0,
                    "offset": 5,
                    "detail": "the model cannot score it: NameError: x",
                },
            },
        ],
        "seconds": 2.0,
        "events_per_second": 2500,
        "metrics": METRICS,
        "drift": [drift_row(SIGNAL)],
    }
    assert fault["error"] == "NameError: name 'itmes' is not defined"
    assert (fault["file"], fault["function"]) == (__file__, "tally")
    assert fault["traceback"].startswith("Traceback (most recent call last):\n")
    assert summary()["fault"] is None


def shown(summary: dict) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    print_backtest(console, summary)
    return console.export_text()


def test_people_get_the_reasons_with_the_first_of_each_and_the_first_traceback_of_their_own_code():
    said = shown(summary(dead=tally()))
    assert "2 schema, the first orders/0/3: items must be a number, got '\\x1b[31mx'\n" in said
    assert "1 model, the first orders/0/5: the model cannot score it: NameError: x\n" in said
    assert f'File "{__file__}", line ' in said
    assert "NameError: name 'itmes' is not defined" in said
    assert "a later one" not in said


def test_without_a_label_there_is_no_table_of_zeros():
    assert "no metrics: no label was joined with a prediction" in shown(summary(labels=0))
    assert "0.7654" not in shown(summary(labels=0))


def test_a_part_that_is_dead_is_a_warning_and_no_failure():
    assert backtest_warning(summary()) is None
    said = summary(records=1000, dead=tally())
    assert backtest_warning(said) == "3 dead letters from 1,000 records (0.3%)"
    assert backtest_failure(said) is None


@pytest.mark.parametrize(
    ("counts", "failure"),
    [
        ({"events": 0}, "nothing was scored"),
        ({"events": 0, "records": 0}, "nothing was scored: the data set is empty"),
        ({"learned": 0}, "the model learned nothing, so its metrics are meaningless"),
    ],
)
def test_a_backtest_that_says_nothing_of_its_model_is_a_failure(counts, failure):
    assert backtest_failure(summary(**counts, dead=tally())) == failure


def test_people_get_the_same_as_tables():
    said = shown(summary(dead=tally()))
    for part in (
        "5,000 events",
        "1,200 labels",
        "3 dead letters",
        "outliers: 4 events, most in amount (3), fee (1)",
        "2,500 events/s",
        "0.7654",
        "majority",
        "12,345",
    ):
        assert part in said
