"""The heat map of feature drift in headless Chromium: its figures are those of the topics."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from math import log

import pytest
from board_page import NAME, PHONE, World, rows, seen_on_a_phone, show
from harness import Project, run_flow
from moved_flights import DELAY, JOINED, MOVED, REFERENCE, WINDOW, moved_flights
from served import serving

from flows.core.drift.monitor import PREDICTION_BATCH
from scripts.tools.chromium import Tab
from scripts.tools.dashboard_view import fact

LAST = MOVED + WINDOW  # the end of the window that has moved
LEAST = 1e-4  # the least share in a PSI


def learned(project: Project, flights: int) -> Project:
    """Let the learn flow read so many flights, which move at `MOVED`."""
    project.send(moved_flights(project.engine(), flights))
    run_flow(project.engine(), "learn")
    return project


@pytest.fixture(scope="module")
def world(applied: Project, tab: Tab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a project whose features have moved, a server of it, and a tab."""
    copied = applied.copy_to(tmp_path_factory.mktemp("map") / "project").with_settings(HTTP_PORT=0)
    project = learned(copied, LAST + PREDICTION_BATCH)
    with serving(project) as server:
        yield World(project, server, tab)


def opened(world: World) -> Tab:
    tab = show(world, "drift")
    tab.wait("document.querySelectorAll('.heat tbody tr').length > 0")
    return tab


def cell(column: str, window: int) -> str:
    return f"document.querySelector(\"td[data-column='{column}'][data-window='{window}']\")"


def signal(world: World) -> dict:
    (found,) = [each for each in world.project.values("drift") if each["type"].endswith("feature")]
    return found


def chosen(tab: Tab, column: str, window: int) -> dict[str, dict]:
    """Choose a cell by a click, and return what the bars show: the shares by bin."""
    tab.run(f"{cell(column, window)}.click()")
    tab.wait(f"document.querySelector(\"[data-section='Distributions of {column}'] .main-svg\") !== null")
    shown = tab.run("document.querySelector('#distributions .plot').data.map((bars) => [bars.name, bars.y])")
    return dict(shown)


def psi(shares: dict) -> float:
    pairs = zip(shares["reference"], shares["window"], strict=True)
    floored = [(max(before, LEAST), max(after, LEAST)) for before, after in pairs]
    return sum((after - before) * log(after / before) for before, after in floored)


def test_the_cells_of_a_signal_have_its_figures(world):
    tab = opened(world)
    data = signal(world)["data"]
    window = (MOVED - REFERENCE) // WINDOW
    assert [each["name"] for each in data["columns"]] == [DELAY, "carrier"]
    for each in data["columns"]:
        said = tab.run(f"{cell(each['name'], window)}.getAttribute('aria-label')")
        assert f": PSI {each['psi']:.3f}, moved far, drift" in said
        assert tab.run(f"{cell(each['name'], window)}.innerText") == f"\u25b2{each['psi']:.2f}"
    raised = tab.run(f"document.querySelectorAll('.heat thead tr')[1].cells[{window + 1}].ariaLabel")
    assert "critical" in raised
    assert "Drift. In the last window 2 of" in tab.text("#state")
    assert tab.run("document.getElementById('state').dataset.state") == "drift"
    assert tab.errors == []


def test_the_map_has_each_feature_from_when_its_reference_is_full(world):
    tab = opened(world)
    names = tab.run("[...document.querySelectorAll('.heat tbody th')].map((each) => each.innerText)")
    pipeline = world.project.engine().pipeline
    watched = {*pipeline.feature_names(world.project.engine().state.plan())}
    assert len(names) == len({*names}) > 20
    assert {*names} <= watched
    assert names[:2] == [DELAY, "carrier"]
    joined = (JOINED - REFERENCE) // WINDOW
    assert [tab.run(f"{cell(DELAY, n)}.innerText") for n in range(joined)] == ["-"] * joined
    assert tab.run(f"{cell(DELAY, joined)}.innerText").startswith(".0")


def test_the_distribution_of_a_text_is_that_of_the_predictions_in_the_window(world):
    tab = opened(world)
    window = (MOVED - REFERENCE) // WINDOW
    shares = chosen(tab, "carrier", window)
    served = Counter(values(world, "carrier")[MOVED:LAST])
    names = [row[0] for row in rows(tab, "Distributions of carrier")]
    assert dict(zip(names, shares["window"], strict=True)) == {name: served[name] / WINDOW for name in names}
    assert sum(shares["reference"]) == pytest.approx(1)
    of_signal = {each["name"]: each["psi"] for each in signal(world)["data"]["columns"]}
    assert psi(shares) == pytest.approx(of_signal["carrier"], rel=1e-9)
    assert fact(tab, "PSI") == f"{of_signal['carrier']:.4f}"


def test_the_distributions_of_a_number_are_those_of_the_predictions(world):
    tab = opened(world)
    window = (MOVED - REFERENCE) // WINDOW
    shares = chosen(tab, DELAY, window)
    answer = world.server.get(f"/v1/{NAME}/drift/{window}/{DELAY}").json()
    assert shares == {"reference": answer["reference"], "window": answer["window"]}
    bounds = answer["bins"][:-1]
    served = Counter(bisect_left(bounds, value) for value in values(world, DELAY)[MOVED:LAST])
    assert shares["window"] == pytest.approx([served[n] / WINDOW for n in range(len(bounds) + 1)])
    of_signal = {each["name"]: each["psi"] for each in signal(world)["data"]["columns"]}
    assert psi(shares) == pytest.approx(of_signal[DELAY], rel=1e-9)
    text = rows(tab, f"Distributions of {DELAY}")
    assert text[-1] == [f"> {bounds[-1]:.4g}", *(f"{100 * shares[name][-1]:.1f} %" for name in shares)]


def values(world: World, column: str) -> list:
    running = world.project.engine()
    at = running.pipeline.feature_names(running.state.plan()).index(column)
    return [each["features"][at] for each in world.project.values("predictions")]


def test_the_map_is_used_by_keyboard_alone(world):
    tab = opened(world)
    for _ in range(30):
        tab.key("Tab", 9)
        if tab.run("document.activeElement.matches('td[data-column]')"):
            break
    assert tab.run("({...document.activeElement.dataset})")["column"] == DELAY
    tab.key("ArrowDown", 40)
    tab.key("ArrowLeft", 37)
    assert tab.run("({...document.activeElement.dataset})") == {"column": "carrier", "window": "2"}
    tab.key("Enter", 13)
    tab.wait("document.querySelector(\"[data-section='Distributions of carrier'] table\") !== null")
    assert tab.run("document.activeElement.getAttribute('aria-selected')") == "true"
    assert tab.run("document.querySelectorAll(\".heat td[tabindex='0']\").length") == 1
    tab.key("Home", 36)
    assert tab.run("document.activeElement.dataset.window") == "0"
    assert tab.errors == []


def test_the_map_fits_a_phone_and_its_text_has_the_contrast_of_wcag_aa_light_and_dark(world):
    def opened_and_chosen() -> None:
        chosen(opened(world), "carrier", (MOVED - REFERENCE) // WINDOW)

    for width, faint in seen_on_a_phone(world.tab, opened_and_chosen):
        assert width <= PHONE
        assert faint == []


def test_a_chart_follows_the_width_of_the_window(world):
    chart, table = (f"document.querySelector('#distributions {each}')" for each in (".main-svg", "table"))
    is_beside = f"{chart}.getBoundingClientRect().right <= {table}.getBoundingClientRect().left"
    world.tab.size(800, 900)  # the table is below the chart
    try:
        tab = opened(world)
        chosen(tab, DELAY, (MOVED - REFERENCE) // WINDOW)
        tab.size(1200, 900)  # it is beside the chart
        tab.wait(is_beside)
        tab.size(360, 740)
        tab.wait("document.documentElement.scrollWidth <= 360")
    finally:
        world.tab.size(1200, 900)


def test_a_window_or_a_feature_that_is_not_there_is_missing(world):
    opened(world)
    for path in ("999/carrier", "3/nothing"):
        answer = world.server.get(f"/v1/{NAME}/drift/{path}")
        assert (answer.status_code, "was not compared" in answer.json()["error"]) == (404, True)


def test_without_drift_the_map_says_so(project: Project, tab: Tab):
    learned(project, MOVED)
    with serving(project.with_settings(HTTP_PORT=0)) as server:
        world = World(project, server, tab)
        opened(world)
        assert "No drift. No feature has drifted in any of the last 3 windows." in tab.text("#state")
        assert "There are none on the drift topic." in tab.text("[data-section='Signals of feature drift']")
        assert project.values("drift") == []
