"""The rules and the board, on a real Prometheus that scrapes real flows with real faults."""

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import pytest
import yaml
from endpoints import SECRET, endpoint
from harness import PATIENCE, Project, wait_until
from made_flights import HOUR, departure, event_payload, label, record
from places import ROOT

from flows.core.serving.prediction_message import PUBLISHED_AT
from flows.core.stream.broker import Outgoing
from flows.runtime.runner import FLOWS
from tests.e2e.monitoring.servers import Alertmanager, Prometheus

FILLED = 12 * 24 * HOUR  # by then all windows are full, which drift detection waits for
ROUND = 20  # flights
MODULE = """
from dataclasses import replace

from river import base

from flows.pipelines import flight_delays
from flows.policies import DriftPolicy, RetrainPolicy


class Odd(base.Classifier):
    def __init__(self):
        self.right, self.learned = 1, 2

    def predict_proba_one(self, x):
        sure = self.right / self.learned
        return {True: sure if x["minute_of_day"] % 2 else 1 - sure}

    def learn_one(self, x, y):
        self.right += (x["minute_of_day"] % 2 == 1) == y
        self.learned += 1


pipeline = replace(
    flight_delays.pipeline,
    model=Odd,
    drift=DriftPolicy(kinds=("concept",), warm_up=60),
    retrain=RetrainPolicy(minimum_labels=5, block=5, trial=0),  # a new champion ends the drift
)
"""

BOARD = orjson.loads((ROOT / "docs" / "examples" / "grafana" / "driftline.json").read_bytes())
RULES = ROOT / "docs" / "examples" / "prometheus"
ALERTS = [
    rule for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
RECORDED = sorted(
    {
        rule["record"]
        for group in yaml.safe_load((RULES / "recording.yml").read_text())["groups"]
        for rule in group["rules"]
    }
)
SELECTOR = re.compile(r"\b((?:pipeline\w*:)?(?:driftline|process)_\w+(?::\w+)?|up)\b({[^}]*})?")


def board_queries() -> list[str]:
    """Return the query of each panel and annotation, with values for the variables."""
    queries = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", ())]
    queries += [annotation["expr"] for annotation in BOARD["annotations"]["list"]]
    values = {"$pipeline": "flight_delays", "$metric": "LogLoss", "$__rate_interval": "1m"}
    for name, value in values.items():
        queries = [query.replace(name, value) for query in queries]
    return queries


def page_queries() -> list[str]:
    page = (ROOT / "docs" / "how-to" / "monitoring.md").read_text()
    return re.findall(r"^```promql\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


class Airport:
    """Sends flights of this moment, each with its label; those of odd minutes are late, or are not."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._sent = 0

    def round(self, truth: bool = True, ago: int = 0) -> None:
        """Send some flights that leave `ago` ms before now, and wait until they are learned."""
        records: list[Outgoing] = []
        for _ in range(ROUND):
            self._sent += 1
            now, flight, minute = time.time_ns() // 1_000_000 - ago, f"F{self._sent:05}", self._sent % 1440
            records.append(
                published(record("flights", now, {**event_payload(flight, now), "minute_of_day": minute}))
            )
            records.append(departure(flight, now, self._sent % 7))
            records.append(label(flight, now + 1, (minute % 2 == 1) == truth))
        self._project.send(records)
        wait_until(lambda: self._learned() >= self._sent, PATIENCE)

    def dirt(self) -> None:
        """Send records that are no flights, and a delay of a week before a flight."""
        now = time.time_ns() // 1_000_000
        bad = [Outgoing("flights", b"no JSON", timestamp=now)] * ROUND
        self._project.send([departure("late", now, 10_000), *bad])
        self.round()

    def _learned(self) -> int:
        return max((each["labels"] for each in self._project.values("metrics")), default=0)


def published(flight: Outgoing) -> Outgoing:
    return flight._replace(headers=((PUBLISHED_AT, str(time.time_ns() // 1000).encode()),))


@dataclass(frozen=True)
class World:
    """Flows that run with faults, and what watches them; `before` has the alerts of the time before."""

    prometheus: Prometheus
    alertmanager: Alertmanager
    before: set[str]


@pytest.fixture(scope="module")
def world(
    applied: Project,
    tmp_path_factory: pytest.TempPathFactory,
    prometheus: Prometheus,
    alertmanager: Alertmanager,
    ports: list[int],
) -> Iterator[World]:
    project = declared(applied.copy_to(tmp_path_factory.mktemp("monitored") / "project"))
    wait_until(lambda: bool(alertmanager.alerts()), PATIENCE)
    before = alertmanager.alerts()
    with endpoint(503) as (url, _):
        webhook = {"WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_ALLOW_PRIVATE": "true"}
        project = project.with_settings(HTTP_PORT=ports[0], MODEL_SECONDS=0.05, **webhook)
        with project.flows() as running:
            wait_until(lambda: len(prometheus.query("up == 1")) == len(FLOWS), PATIENCE)
            airport = Airport(project)
            airport.round(ago=FILLED)
            for _ in range(8):
                airport.round()
            airport.dirt()

            def is_found() -> bool:
                airport.round(truth=False)
                return project.records("drift") != []

            wait_until(is_found, 2 * PATIENCE)
            yield World(prometheus, alertmanager, before)
            assert running.process.poll() is None, running.said()


def declared(project: Project) -> Project:
    """Return the project with a pipeline whose model is soon good, and whose drift is soon found."""
    (project.directory / "alternating.py").write_text(MODULE)
    toml = 'feature_repo = "feature_repo"\npipelines = ["alternating"]\n'
    (project.directory / "driftline.toml").write_text(toml)
    return project


def test_flows_that_do_not_answer_are_an_alert_that_reaches_alertmanager(world: World) -> None:
    assert world.before == {"DriftlineFlowDown"}
    wait_until(lambda: "DriftlineFlowDown" not in world.prometheus.firing(), PATIENCE)


def test_prometheus_evaluates_each_rule_without_an_error(world: World) -> None:
    rules = world.prometheus.rules()
    assert {rule["name"] for rule in rules} == {*RECORDED, *(alert["alert"] for alert in ALERTS)}
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []


@pytest.mark.parametrize("name", RECORDED)
def test_each_recorded_figure_is_a_number_for_the_pipeline(world: World, name: str) -> None:
    def values() -> list[float]:
        return [
            float(each["value"][1]) for each in world.prometheus.query(f'{name}{{pipeline="flight_delays"}}')
        ]

    wait_until(lambda: bool(values()) and not any(map(math.isnan, values())), PATIENCE)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_series_that_an_alert_reads_is_exported(world: World, alert: dict[str, str]) -> None:
    selectors = {name + labels for name, labels in SELECTOR.findall(alert["expr"])}
    assert selectors
    for selector in selectors:
        assert world.prometheus.query(selector), selector


@pytest.mark.parametrize("query", [*board_queries(), *page_queries()])
def test_each_query_of_the_board_and_of_the_page_has_an_answer(world: World, query: str) -> None:
    wait_until(lambda: bool(world.prometheus.query(query)), PATIENCE)


def test_the_variables_of_the_board_have_the_values_of_the_pipeline(world: World) -> None:
    found = {}
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label_name = re.fullmatch(
                r"label_values\((\w+), (\w+)\)", variable["query"]["query"]
            ).groups()  # type: ignore[union-attr]
            found[variable["name"]] = {each["metric"][label_name] for each in world.prometheus.query(metric)}
    assert found == {"pipeline": {"flight_delays"}, "metric": {"ROCAUC", "LogLoss"}}


@pytest.mark.parametrize("name", ["DriftlineDeadLetters", "DriftlineDriftOpen", "DriftlineWebhookFailing"])
def test_a_real_fault_is_an_alert(world: World, name: str) -> None:
    wait_until(lambda: name in world.prometheus.firing(), PATIENCE)
    wait_until(lambda: name in world.alertmanager.alerts(), PATIENCE)


@pytest.mark.parametrize(
    "name",
    ["DriftlineFlowDown", "DriftlineNoPredictions", "DriftlineModelNotLearning", "DriftlineSnapshotOld"],
)
def test_what_is_well_is_no_alert(world: World, name: str) -> None:
    assert name not in world.prometheus.firing()
