"""The report's HTML page: its content, and its rendering in Chromium."""

import html
import math
import random
import re

import pytest
from browser import SECTIONS, Page, chromium

from flows.backtest.contents import Curve, HeatMap, Mark, Reliability, Report, SliceTable, Version
from flows.backtest.page import render
from flows.core.evaluation.calibration import Calibration
from flows.core.evaluation.slices import Slices, fairness

DAY = 86_400_000
START = 1_356_998_400_000  # 1 January 2013
POINTS = 120
FEATURES = 14
WINDOWS = 52
CARRIERS = ["UA", "B6", "EV", "DL", "AA", "MQ", "US", "WN", "F9", "HA"]


def walk(rng: random.Random, begin: float, step: float) -> list[float]:
    values = [begin]
    while len(values) < POINTS:
        values.append(min(0.98, max(0.02, values[-1] + rng.gauss(0, step))))
    return values


def made_report(seed: int = 1) -> Report:
    """A year of a model that drifts in July, with a gap and values that are not known."""
    rng = random.Random(seed)
    times = [START + n * 3 * DAY for n in range(POINTS)]
    auc = {"model": walk(rng, 0.76, 0.008), "majority": [0.5] * POINTS, "no-change": walk(rng, 0.6, 0.008)}
    auc["model"][0] = auc["model"][40] = math.nan
    loss = {"model": walk(rng, 0.4, 0.01), "majority": walk(rng, 0.52, 0.006)}
    calibration, slices = Calibration(), Slices(("carrier", "origin"), minimum=50, most=8)
    for _ in range(8000):
        chance = rng.betavariate(1, 2.5)
        truth = rng.random() < chance**1.3
        calibration.update_many([chance], [truth])
        groups = rng.choice(CARRIERS), rng.choice(["JFK", "LGA", "EWR"])
        slices.update_many([[group] for group in groups], [chance > 0.4], [truth])
    psi = {
        f"origin_departures__mean_delay_{n}h": [
            math.nan
            if window < 2
            else abs(rng.gauss(0.02, 0.03)) + (0.6 * rng.random() if window > 26 and n % 5 == 0 else 0)
            for window in range(WINDOWS)
        ]
        for n in range(FEATURES)
    }
    return Report(
        "flight_delays",
        {"events": "336,776", "ROC AUC": "0.7670", "log loss": "0.4012", "events/s": "2,290"},
        (
            Curve("ROC AUC", times, auc, "over the last 1,000 labels"),
            Curve("log loss", times, loss, "over the last 1,000 labels"),
        ),
        (
            Mark(START + 70 * DAY, "warning", "the error rose from 0.1713 to 0.2104"),
            Mark(START + 190 * DAY, "critical", "the error rose from 0.1802 to 0.3120, most in carrier MQ"),
            Mark(START + 210 * DAY, "promotion", "v2 replaced v1 after 2,400 labels, log loss 0.031 lower"),
        ),
        HeatMap([START + n * 7 * DAY for n in range(WINDOWS)], psi),
        Reliability(calibration.table(), calibration.expected_error(), calibration.brier()),
        tuple(SliceTable(c, slices.rates(c), fairness(slices.rates(c))) for c in slices.columns),
        (
            Version("v1-4f2a9c", "retired", START, 201_340, {}),
            Version("v2-91be07", "champion", START + 210 * DAY, 128_400, {"signal": "adwin-17"}),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Page, list[str]]:
    page = tmp_path_factory.mktemp("report") / "report.html"
    page.write_text(render(made_report()))
    dom, console = chromium(page, "--dump-dom")
    return Page(dom), console


def test_a_browser_shows_every_section_and_has_nothing_to_complain_of(shown):
    page, console = shown
    assert page.sections == SECTIONS
    assert console == []


def test_a_page_with_a_fault_would_have_been_noticed(tmp_path):
    page = tmp_path / "fault.html"
    page.write_text(
        render(made_report()).replace("</main>", "<script src='https://example.org/x.js'></script>")
    )
    assert chromium(page, "--dump-dom")[1]


def test_every_point_window_bin_group_mark_and_version_is_in_the_dom(shown):
    page, _ = shown
    report = made_report()
    assert page.classes["line"] == sum(len(curve.values) for curve in report.curves) == 5
    assert page.classes["strip"] == 2 * POINTS
    assert sum(page.classes[f"h{level}"] for level in (*range(5), "none")) == FEATURES * WINDOWS + 6  # legend
    assert page.classes["hnone"] == FEATURES * 2 + 1
    assert page.tags["circle"] == sum(row.labels > 0 for row in report.calibration.bins)
    assert page.classes["flag"] == 2 * len(report.marks) + 1  # and the diagonal of the calibration
    assert page.classes["pin"] == 2 * len(report.marks)
    assert page.tags["time"] == len(report.marks)
    assert page.classes["tag"] == len(report.versions)


def test_nothing_is_loaded_from_elsewhere_and_there_is_no_script(shown):
    page, _ = shown
    assert page.tags["script"] == 0
    assert all(address.startswith(("#", "data:")) for address in page.loads)
    assert "url(" not in render(made_report())


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_is_no_wider_than_a_phone_or_a_desktop(tmp_path, width):
    inner = html.escape(render(made_report()), quote=True)
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe srcdoc="{inner}" style="border:0;width:{width}px;height:800px" onload="document.title='
        "(d => d.scrollWidth + ' of ' + d.clientWidth)(this.contentDocument.documentElement)\"></iframe>"
    )
    dom, _ = chromium(frame, "--dump-dom")
    needed, given = re.search(r"<title>(\d+) of (\d+)</title>", dom.split("<iframe")[0]).groups()
    assert needed == given
    assert int(given) > width - 30  # a scroll bar


def test_a_report_without_anything_says_so_in_every_section():
    text = render(Report("empty", {}))
    assert Page(text).sections == SECTIONS
    for said in ("No label", "No drift", "not watched", "no scores", "No columns", "No model"):
        assert said in text


def test_a_curve_without_points_and_one_of_a_single_point_are_shown():
    for times in ([], [START]):
        curve = Curve("MAE", times, {"model": [0.5] * len(times)})
        page = Page(render(Report("short", {}, (curve,))))
        assert page.classes["strip"] == len(times)


def test_names_from_the_data_cannot_become_markup():
    nasty = "<script>alert(1)</script>\"'&"
    report = Report(
        nasty,
        {nasty: nasty},
        (Curve(nasty, [START], {nasty: [1.0]}, nasty),),
        (Mark(START, "warning", nasty),),
        HeatMap([START], {nasty: [0.2]}),
        versions=(Version(nasty, "champion", START, 1, {nasty: nasty}),),
    )
    assert Page(render(report)).tags["script"] == 0
    assert "<script>" not in render(report)


def test_the_same_report_is_the_same_page_byte_by_byte():
    assert render(made_report()) == render(made_report())


def test_of_marks_that_stand_too_close_only_the_first_has_its_number_in_the_chart():
    marks = [Mark(START + n * DAY, "warning", "drift") for n in (100, 101, 102, 200)]
    curve = Curve("MAE", [START, START + 365 * DAY], {"model": [0.5, 0.6]})
    page = Page(render(Report("close", {}, (curve,), marks)))
    assert (page.classes["flag"], page.classes["pin"]) == (4, 2)


def test_a_mark_outside_the_time_of_a_chart_is_in_the_list_only():
    marks = [Mark(time, "warning", "drift") for time in (START - 1, START, START + DAY, START + DAY + 1)]
    curve = Curve("MAE", [START, START + DAY], {"model": [0.5, 0.6]})
    page = Page(render(Report("outside", {}, (curve,), marks)))
    assert (page.classes["flag"], page.tags["time"]) == (2, 4)


def test_a_bin_without_labels_is_neither_a_dot_nor_a_row():
    calibration = Calibration()
    calibration.update_many([0.15, 0.15, 0.85], [False, True, True])
    shown = Reliability(calibration.table(), calibration.expected_error(), calibration.brier())
    text = render(Report("sparse", {}, calibration=shown))
    assert Page(text).tags["circle"] == 2
    assert "nan" not in text
    assert "0.2 to 0.3" not in text
