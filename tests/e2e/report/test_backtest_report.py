"""The report of a real backtest in Chromium, and the recorded values."""

import random
from datetime import timedelta
from math import isnan
from typing import Any

import orjson
import pytest
from browser import SECTIONS, Page, chromium
from progressive import Run
from river import linear_model, preprocessing
from signals import CONCEPT_ALARM as SIGNAL

from flows.backtest.backtest import Progress
from flows.backtest.contents import Report
from flows.backtest.page import render
from flows.backtest.recorder import POINTS, BacktestRecorder
from flows.backtest.summary import backtest_summary
from flows.core.drift.features import ComparedWindow, FeaturePolicy
from flows.core.drift.levels import Position
from flows.core.drift.monitor import MonitorSettings
from flows.core.drift.quality import Column
from flows.core.features.plan import FeaturePlan
from flows.core.stream.broker import Outgoing
from flows.core.stream.dead_tally import DeadTally
from flows.core.stream.fields import Flag, Number, Text, Time
from flows.pipeline import Pipeline, Stream

EVENTS = 4000
CHANGE = 2500  # from this event on x is larger, and is no sign of the truth any more
START = 1_356_998_400_000
MINUTE = 60_000
WINDOW, REFERENCE = 300, 500  # longer than what is looked at together
COUNTRIES = ("A", "B")
WATCHED = MonitorSettings(
    {"x": Column("number"), "steady": Column("number"), "country": Column("category")},
    ("concept", "feature"),
    FeaturePolicy(reference=REFERENCE, window=WINDOW),
    slices=("country",),
)


def numbers(x: dict[str, Any]) -> dict[str, float]:
    return {"x": x["x"], "steady": x["steady"]}


def pipeline(**changes: Any) -> Pipeline:
    fields = {"id": Text(), "at": Time()}
    declared = {
        "name": "visits",
        "events": Stream(
            "visits", "id", "at", {**fields, "x": Number(), "steady": Number(), "country": Text()}
        ),
        "labels": Stream("sales", "id", "at", {**fields, "sold": Flag()}),
        "target": "sold",
        "entities": (),
        "service": "none",
        "inputs": ("x", "steady", "country"),
        "slices": ("country",),
        "label_wait": timedelta(days=1),
        "model": lambda: numbers | preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    }
    return Pipeline(**declared | changes)


def records(count: int = EVENTS) -> list[Outgoing]:
    rng, out = random.Random(4), []
    for n in range(count):
        x, time, is_new = rng.gauss(0, 1), START + n * MINUTE, n >= CHANGE
        event = {"id": str(n), "at": time, "x": x + 3 * is_new, "steady": rng.random()}
        sold = (x + rng.gauss(0, 0.5) > 0) != is_new
        out.append(Outgoing("visits", orjson.dumps({**event, "country": COUNTRIES[n % 2]}), timestamp=time))
        out.append(Outgoing("sales", orjson.dumps({"id": str(n), "at": time, "sold": sold}), timestamp=time))
    return out


def reported(declared: Pipeline, events: int = EVENTS, batch: int = 60, **policy: Any) -> Report:
    run = Run(declared, FeaturePlan("none", ()), **policy)
    recorder = BacktestRecorder(run.test, events)
    for step in run.test.run(records(events), batch):
        recorder.add(step)
    return recorder.report()


@pytest.fixture(scope="module")
def report() -> Report:
    return reported(pipeline(), monitor=WATCHED, warm_up=500)


def test_a_browser_shows_the_page_of_a_real_backtest_in_full(report, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(render(report))
    dom, console = chromium(page, "--dump-dom")
    shown = Page(dom)
    assert console == []
    assert shown.sections == SECTIONS
    assert shown.classes["line"] == 2 * 3  # ROC AUC and log loss, of the model and two baselines
    assert shown.classes["strip"] == 2 * len(report.curves[0].times)
    assert shown.classes["pin"] > 0
    assert sum(shown.classes[f"h{n}"] for n in range(5)) == 3 * len(report.drift.windows) + 5  # legend
    assert shown.tags["circle"] == 10
    assert shown.classes["champion"] == 1
    for said in ("No label", "No drift", "not watched", "no scores", "No columns", "No model"):
        assert said not in dom


def test_the_curves_show_the_last_labels_at_most_120_times_and_at_the_end(report):
    for curve in report.curves:
        assert 15 < len(curve.times) <= POINTS
        assert curve.times == sorted(curve.times)
        assert curve.times[-1] == START + (EVENTS - 1) * MINUTE
    auc = dict(zip(report.curves[0].times, report.curves[0].values["model"], strict=True))
    before = [value for time, value in auc.items() if START + 1000 * MINUTE < time < START + CHANGE * MINUTE]
    after = [value for time, value in auc.items() if time > START + (CHANGE + 500) * MINUTE]
    assert min(before) > 0.9 > min(after)


def test_the_heat_map_has_each_window_and_the_feature_that_moved_furthest_first(report):
    windows, rows = report.drift
    assert next(iter(rows)) == "x"
    first = START + REFERENCE * MINUTE
    assert windows[0] == first
    calm = [window for window in windows if window < START + (CHANGE - WINDOW) * MINUTE]
    assert calm == [first + n * WINDOW * MINUTE for n in range(len(calm))]
    assert len(calm) == (CHANGE - REFERENCE) // WINDOW
    assert max(rows["x"][: len(calm)]) < 0.25 < max(rows["x"][len(calm) :])
    assert max(rows["steady"]) < 0.25


def test_a_window_in_which_a_feature_could_not_be_judged_has_no_figure_in_the_heat_map():
    run = Run(pipeline(), FeaturePlan("none", ()))
    run.test.compared += [ComparedWindow(1, {"x": None, "y": 0.1}), ComparedWindow(2, {"x": 0.3, "y": None})]
    windows, rows = BacktestRecorder(run.test, 3).report().drift
    assert windows == [1, 2]
    assert list(rows) == ["x", "y"]
    assert (isnan(rows["x"][0]), rows["x"][1]) == (True, 0.3)
    assert (rows["y"][0], isnan(rows["y"][1])) == (0.1, True)


def test_marks_tell_when_which_drift_was_seen_and_where(report):
    kinds = {mark.text.partition(" drift")[0] for mark in report.marks}
    assert kinds == {"concept", "feature"}
    assert all(mark.time > START + CHANGE * MINUTE for mark in report.marks)
    assert any("x" in mark.text.split("; ")[-1] for mark in report.marks)


def test_what_is_over_again_is_no_mark():
    run = Run(pipeline(), FeaturePlan("none", ()))
    recorder = BacktestRecorder(run.test, 3)
    over = SIGNAL.resolved("v1", SIGNAL.time + 1, Position("labels", 0, 4712))
    recorder.add(Progress(0, 0, [], [SIGNAL, over], []))
    (mark,) = recorder.report().marks
    assert mark == (SIGNAL.time, "critical", "concept drift: 0.2000 to 0.3500")


def test_slices_calibration_versions_and_facts_are_those_of_the_run(report):
    (table,) = report.slices
    assert {row.value: row.labels for row in table.groups} == dict.fromkeys(COUNTRIES, EVENTS // 2)
    assert table.fairness.parity_ratio == pytest.approx(1, abs=0.1)
    assert sum(row.labels for row in report.calibration.bins) == EVENTS
    assert [(v.version, v.role, v.labels) for v in report.versions] == [("v1", "champion", EVENTS)]
    assert report.versions[0].since == START
    assert (report.facts["events"], report.facts["dead letters"]) == (f"{EVENTS:,}", "0")


def test_the_outliers_of_a_run_are_among_its_facts():
    made = records(400)
    far = orjson.loads(made[400].value) | {"x": 1e6}
    made[400] = made[400]._replace(value=orjson.dumps(far))
    run = Run(pipeline(), FeaturePlan("none", ()), outliers="skip").over(made)
    assert BacktestRecorder(run.test, 400).report().facts["outliers"] == "1"
    summary = backtest_summary(run.test, [], 800, DeadTally(), 1.0)
    assert summary["outliers"] == {"events": 1, "values": {"x": 1}}
    assert summary["labels"] == 400


def test_a_short_backtest_without_slices_or_a_watch_has_a_page_too():
    report = reported(pipeline(slices=()), events=3)
    assert (report.drift, report.slices, report.marks) == (None, [], [])
    assert len(report.curves[0].times) in (1, 2, 3)
    assert Page(render(report)).sections == SECTIONS


def test_a_backtest_in_which_no_label_came_has_a_page_too():
    run = Run(pipeline(), FeaturePlan("none", ()))
    recorder = BacktestRecorder(run.test, 3)
    for step in run.test.run([r for r in records(3) if r.topic == "visits"]):
        recorder.add(step)
    assert "No label was joined with a prediction" in render(recorder.report())
