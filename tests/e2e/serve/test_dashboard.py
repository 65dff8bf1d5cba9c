"""The dashboard in headless Chromium, on a real run: its values are those of the topics."""

from collections.abc import Iterator

import orjson
import pytest
from board_page import NAME, PHONE, VIEWS, World, rows, seen_on_a_phone, show
from harness import PATIENCE, Project, free_ports, wait_until
from made_flights import NOON, label, record, traffic
from served import Server, serving
from served_world import assessments

from scripts.tools.chromium import Tab
from scripts.tools.dashboard_view import fact

FLIGHTS = 300


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


def test_a_flow_on_another_host_is_asked_there(world):
    host = "127.0.0.2"
    there = world.project.with_settings(HTTP_HOST=host, HTTP_PORT=free_ports(20))
    with there.flows("alert"), serving(there, HTTP_HOST="127.0.0.1", FLOWS_HOST=host) as server:
        wait_until(lambda: states(server)["alert"] == "running", PATIENCE)
        assert states(server)["predict"] == "stopped"


def states(server: Server) -> dict[str, str]:
    """Return the state of each flow, by its name."""
    return {each["flow"]: each["state"] for each in server.get(f"/v1/{NAME}/overview").json()["flows"]}


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
    assert {source for rule in policy.split("; ") for source in rule.split()[1:]} == {"'none'", "'self'"}
    assert "http" not in page.text.replace("<!doctype html>", "")
    for name in ("../board.py", "..%2Fboard.py", "board.py", "x.js", ".js", "%2e%2e"):
        assert world.server.get(f"/assets/{name}").status_code in (401, 404)


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_does_what_the_policy_refuses(world, view):
    tab = show(world, view)
    if view in ("metrics", "quality"):
        tab.wait("document.querySelectorAll('.plot .main-svg').length > 0")
    assert tab.errors == []
    tab.run("document.head.append(Object.assign(document.createElement('style'), {textContent: 'p {}'}))")
    assert any("Content Security Policy" in each for each in tab.errors)  # so it would have been seen


def test_too_few_predictions_are_said_to_be_no_window_yet(world):
    tab = show(world, "drift")
    assert "The reference fills: it needs 4,096 predictions and at least 48 hours" in tab.text("#state")
    assert f"Computed from {FLIGHTS} predictions" in tab.text("main")


@pytest.fixture
def quiet(project: Project, tab: Tab) -> Iterator[World]:
    """Yield a project without any event, a server of it, and the tab."""
    with serving(project.with_settings(HTTP_PORT=free_ports(20))) as server:
        yield World(project, server, tab)


def test_a_pipeline_without_events_says_how_to_publish_one(quiet):
    tab = show(quiet, "overview")
    assert "No event yet. Publish to the topic flights" in tab.text("#state")
    assert "No metric yet" in show(quiet, "metrics").text("#state")
    assert "Nothing yet. There is no prediction" in show(quiet, "drift").text("#state")
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


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_fits_a_phone_and_its_text_has_the_contrast_of_wcag_aa_light_and_dark(world, view):
    for width, faint in seen_on_a_phone(world.tab, lambda: show(world, view)):
        assert width <= PHONE
        assert faint == []


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
