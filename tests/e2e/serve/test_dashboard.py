"""The dashboard in headless Chromium, on a real run: its values are those of the topics."""

from collections.abc import Iterator
from typing import NamedTuple

import orjson
import pytest
from chromium_tab import Tab, chromium_tab
from harness import PATIENCE, Project, free_ports, wait_until
from made_flights import NOON, label, record, traffic
from served import Server, serving

FLIGHTS = 300
NAME = "flight_delays"


class World(NamedTuple):
    project: Project
    server: Server
    tab: Tab


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium_tab(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def world(applied: Project, tab: Tab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a project whose flows run and have learned, a server of it, and a tab."""
    copied = applied.copy_to(tmp_path_factory.mktemp("dashboard") / "project")
    project = copied.with_settings(HTTP_PORT=free_ports(20), MODEL_SECONDS=0.05, EPOCH_SECONDS=0.5)
    with project.flows("predict", "learn"), serving(project) as server:
        project.send(traffic(FLIGHTS))
        project.send([record("flights", NOON, {"flight_id": "bad"}), label("F00000", NOON, True)])
        wait_until(lambda: learned(project) == FLIGHTS, PATIENCE)
        yield World(project, server, tab)


def learned(project: Project) -> int:
    return max((value["labels"] for value in project.values("metrics")), default=0)


def show(world: World, view: str) -> Tab:
    """Open a view, and wait until it has read."""
    tab = world.tab
    tab.open("about:blank")
    tab.errors.clear()
    tab.open(f"{world.server.url}/#/{view}/{NAME}")
    tab.wait("Number(document.getElementById('view')?.dataset.read ?? 0) > 0")
    return tab


def fact(tab: Tab, name: str) -> str:
    return tab.text(f"[data-fact='{name}']").splitlines()[0]


def test_the_overview_shows_what_the_topics_say(world):
    tab = show(world, "overview")
    tab.wait("document.querySelector('#state').dataset.state !== ''")
    last = world.project.values("metrics")[-1]
    assert fact(tab, "predictions") == str(len(world.project.records("predictions")))
    assert fact(tab, "pending labels") == str(last["pending"])
    assert fact(tab, "dead letters") == str(len(world.project.records("dead-letters")))
    assert fact(tab, "champion") == last["model"]
    assert fact(tab, "ROCAUC") == f"{last['metrics']['model']['ROCAUC']:.4f}"
    assert fact(tab, "backlog of predict") == "0"
    assert tab.errors == []


def test_a_flow_that_runs_and_one_that_does_not_are_told_apart(world):
    tab = show(world, "overview")
    tab.wait("document.querySelector('#state').dataset.state === 'stopped'")
    assert "Start the flows with driftline run" in tab.text("#state")
    rows = tab.text("[data-section=Flows] tbody").splitlines()
    assert [row.split("\t")[:2] for row in rows if row.startswith(("predict", "alert"))] == [
        ["predict", "running"],
        ["alert", "stopped"],
    ]


def test_the_metrics_are_drawn_with_the_baselines_and_end_with_those_of_the_topic(world):
    tab = show(world, "metrics")
    tab.run("document.querySelector('input[value=total]').click()")
    tab.wait("document.querySelectorAll('.plot .main-svg').length > 0")
    last = world.project.values("metrics")[-1]["metrics"]
    drawn = tab.run("Object.fromEntries([...document.querySelectorAll('.plot')].map("
                    "(plot) => [plot.dataset.metric, JSON.parse(plot.dataset.last)]))")  # fmt: skip
    assert drawn == {
        name: {predictor: values[name] for predictor, values in last.items()} for name in last["model"]
    }
    assert tab.run("getComputedStyle(document.querySelector('.plot .hoverlayer')).pointerEvents") == "none"
    assert tab.run("document.querySelector('.plot').data.map((line) => line.name)") == list(last)
    assert tab.errors == []


def rows(tab: Tab, section: str) -> list[list[str]]:
    """Return the cells of the first table of a section."""
    found = tab.run(
        f"[...document.querySelectorAll(\"[data-section='{section}'] table\")[0].tBodies[0].rows]"
        ".map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    assert isinstance(found, list)
    return found


def test_the_assessment_on_the_topic_is_the_view_of_the_quality(world):
    wait_until(lambda: any(each["labels"] == FLIGHTS for each in assessments(world.project)), PATIENCE)
    tab = show(world, "quality")
    last = assessments(world.project)[-1]["assessment"]
    error = last["calibration"]["expected_error"]
    assert fact(tab, "expected calibration error") == f"{error:.4f}"
    bins = [each["labels"] for each in last["calibration"]["bins"] if each["labels"]]
    assert [int(row[1]) for row in rows(tab, "Calibration")] == bins
    groups = last["slices"]["carrier"]["groups"]
    assert [row[:2] for row in rows(tab, "Slices by carrier")] == [
        [each["value"], str(each["labels"])] for each in groups
    ]
    tab.wait("document.querySelectorAll('.plot .main-svg').length > 0")
    assert tab.errors == []


def assessments(project: Project) -> list[dict]:
    return [value for value in project.values("metrics") if "assessment" in value]


def test_the_dead_letters_are_counted_by_reason_and_shown_with_their_values(world):
    tab = show(world, "letters")
    counts = {(row[0], row[1]): int(row[2]) for row in rows(tab, "Dead letters")}
    assert counts == {("schema", "flights"): 1, ("corrected", "flight_labels"): 1}
    assert len(world.project.records("dead-letters")) == 2
    assert fact(tab, "pending") == str(world.project.values("metrics")[-1]["pending"])
    tab.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert '{"flight_id":"bad"}' in tab.text("[data-section='The newest']")
    assert tab.errors == []


def test_a_prediction_is_looked_up_with_the_contributions_of_its_features(world):
    tab = show(world, "prediction")
    (on_topic,) = [value for value in world.project.values("predictions") if value["id"] == "F00250"]
    tab.run("document.getElementById('event-id').value = 'F00250'")
    tab.run("document.querySelector('form button.main').click()")
    tab.wait("document.querySelector(\"[data-section='Explanation'] table\") !== null")
    assert fact(tab, "score") == f"{on_topic['score']:.4f}"
    assert fact(tab, "model") == on_topic["model"]
    explained = orjson.loads(world.project.run("explain", "F00250", "--json").stdout)
    explained = explained[0] if isinstance(explained, list) else explained
    shown = {row[0]: row[2] for row in rows(tab, "Explanation")}
    assert shown == {each["feature"]: f"{each['contribution']:.4f}" for each in explained["contributions"]}
    assert tab.errors == []


def test_a_prediction_that_is_not_there_is_said_to_be_missing(world):
    tab = show(world, "prediction")
    tab.run("document.getElementById('event-id').value = '<b>nobody'")
    tab.run("document.querySelector('form button.main').click()")
    tab.wait("document.body.innerText.includes('there is no prediction')")
    assert "<b>nobody" in tab.text("main")


def test_the_files_of_the_page_are_served_with_a_policy_that_allows_nothing_from_outside(world):
    page = world.server.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in page.text.replace("<!doctype html>", "")
    for name in ("../board.py", "..%2Fboard.py", "board.py", "x.js", ".js", "%2e%2e"):
        assert world.server.get(f"/assets/{name}").status_code in (401, 404)


@pytest.fixture
def quiet(project: Project, tab: Tab) -> Iterator[World]:
    """Yield a project without any event, a server of it, and the tab."""
    with serving(project.with_settings(HTTP_PORT=free_ports(20))) as server:
        yield World(project, server, tab)


def test_a_pipeline_without_events_says_how_to_publish_one(quiet):
    tab = show(quiet, "overview")
    assert "No event yet. Publish to the topic flights" in tab.text("#state")
    assert "No metric yet" in show(quiet, "metrics").text("#state")
    assert tab.errors == []


def test_a_server_that_ends_is_noticed(quiet):
    tab = show(quiet, "overview")
    assert quiet.server.running.stop() == 0
    tab.wait("!document.getElementById('notice').hidden")
    assert "does not answer" in tab.text("#notice")


def test_a_log_that_cannot_be_read_is_a_broken_pipeline(quiet):
    tab = show(quiet, "overview")
    with quiet.project.broker() as broker:
        broker.delete_topics(quiet.project.engine().pipeline.topics)
    tab.wait("document.querySelector('#state')?.dataset.state === 'broken'")
    assert "driftline apply" in tab.text("#state")


def test_with_tokens_the_page_asks_for_one(quiet):
    made = quiet.project.run("tokens", "create", "ada", "--scope", "read")
    tab = quiet.tab
    tab.open("about:blank")
    tab.open(f"{quiet.server.url}/")
    tab.wait("document.getElementById('token')?.open")
    tab.run(f"document.getElementById('token-value').value = '{made.stdout.strip()}'")
    tab.run("document.querySelector('#token button[value=use]').click()")
    tab.wait("document.querySelector('#state') !== null")
    assert "No event yet" in tab.text("#state")


def test_a_command_needs_a_token_that_operates_and_its_reason_is_in_the_history(world):
    made = world.project.run("tokens", "create", "ada", "--scope", "read", "--scope", "operate")
    world.tab.open(world.server.url)
    world.tab.wait("document.readyState === 'complete'")
    world.tab.run(f"sessionStorage.setItem('driftline-token', '{made.stdout.strip()}')")
    tab = show(world, "models")
    versions = orjson.loads(world.project.run("models", "list", "--json").stdout)
    assert [row[:2] for row in rows(tab, "Versions")] == [
        [each["version"], each["role"]] for each in versions
    ]
    for action, change in (("freeze", "frozen"), ("unfreeze", "unfrozen")):
        tab.run(f"document.querySelector('[data-action={action}]').click()")
        tab.run(f"document.getElementById('command-reason').value = 'because of {action}'")
        tab.run("document.querySelector('#command button[value=send]').click()")
        tab.wait(f"document.getElementById('outcome').innerText === 'v1 {change}: because of {action}'")
    history = [value for value in world.project.values("registry") if value["who"] == "ada"]
    assert [(each["change"], each["why"]) for each in history] == [
        ("frozen", "because of freeze"),
        ("unfrozen", "because of unfreeze"),
    ]
    tab = show(world, "models")
    assert [row[-2:] for row in rows(tab, "History")[:2]] == [
        ["ada", "because of unfreeze"],
        ["ada", "because of freeze"],
    ]
    assert tab.errors == []


@pytest.mark.parametrize("view", ["overview", "metrics", "quality", "models", "prediction", "letters"])
def test_a_view_fits_a_phone_and_its_text_has_the_contrast_of_wcag_aa_light_and_dark(world, view):
    world.tab.size(360, 740)
    try:
        for scheme in ("light", "dark"):
            world.tab.scheme(scheme)
            tab = show(world, view)
            assert tab.run("document.documentElement.scrollWidth") <= 360
            assert tab.run(CONTRAST) == []
    finally:
        world.tab.size(1200, 900)
        world.tab.scheme("light")


# the texts of elements whose contrast to the background behind them is below 4.5
CONTRAST = """
(() => {
  const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parsed(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *:not(svg *, script, style, option)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.offsetParent) continue;
    const one = light(parsed(getComputedStyle(element).color).slice(0, 3)), other = light(behind(element));
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push(`${element.textContent.trim()} ${contrast.toFixed(2)}`);
  }
  return faint;
})()
"""


def test_the_views_are_reached_by_keyboard(world):
    tab = show(world, "overview")
    reached = []
    for _ in range(5):
        tab.key("Tab", 9)
        reached.append(tab.run("document.activeElement.textContent.trim().split('\\n')[0]"))
    assert reached[0] == "Skip to the view"
    assert reached[2:] == ["Token", "Overview", "Metrics"]
    tab.key("Enter", 13)
    tab.wait("document.querySelector('h1')?.innerText === 'Metrics'")
