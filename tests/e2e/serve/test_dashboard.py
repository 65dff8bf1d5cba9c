"""The dashboard in headless Chromium, on a real run: its values are those of the topics."""

from collections.abc import Iterator
from typing import NamedTuple

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
