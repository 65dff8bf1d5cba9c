"""The page about monitoring, the board and the containers of Grafana are about the same things."""

from pathlib import Path
from typing import Any

import orjson
import yaml

from tests.docs.test_docs import COMPOSE, ROOT, table

EXAMPLES = ROOT / "docs" / "examples"
BOARD = orjson.loads((EXAMPLES / "grafana" / "driftline.json").read_bytes())
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}


def loaded(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text())


def mounts(service: str) -> dict[str, Path]:
    """Return the files of the project in the container, by their place there."""
    lines = [line.split(":") for line in COMPOSE["services"][service]["volumes"]]
    return {line[1]: ROOT / line[0] for line in lines if line[0].startswith("./") and line[2] == "ro"}


def test_the_alerts_of_the_page_are_those_of_the_rules() -> None:
    (group,) = loaded("prometheus/alerts.yml")["groups"]
    rules = [
        [
            f"`{rule['alert']}`",
            rule.get("labels", {}).get("severity", "that of the drift"),
            rule.get("for", ""),
        ]
        for rule in group["rules"]
    ]
    page = ROOT / "docs" / "how-to" / "monitoring.md"
    assert [row[:3] for row in table(page, "alerts")] == rules


def test_prometheus_reads_its_files_from_the_examples_and_alerts_the_alertmanager_beside_it() -> None:
    assert mounts("prometheus") == {"/etc/prometheus": EXAMPLES / "prometheus"}
    configuration = loaded("prometheus/prometheus.yml")
    assert all((EXAMPLES / "prometheus" / name).exists() for name in configuration["rule_files"])
    (manager,) = configuration["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert mounts("alertmanager") == {
        "/etc/alertmanager/alertmanager.yml": EXAMPLES / "prometheus" / "alertmanager.yml"
    }


def test_grafana_is_provisioned_with_the_board_and_with_its_data_source() -> None:
    places = mounts("grafana")
    provisioned = "/etc/grafana/provisioning"
    (source,) = yaml.safe_load(places[f"{provisioned}/datasources/driftline.yml"].read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert VARIABLES["datasource"]["current"]["value"] == source["uid"]
    assert (
        source["jsonData"]["timeInterval"] == loaded("prometheus/prometheus.yml")["global"]["scrape_interval"]
    )
    (provider,) = yaml.safe_load(places[f"{provisioned}/dashboards/driftline.yml"].read_text())["providers"]
    board = f"{provider['options']['path']}/driftline.json"
    assert places[board] == EXAMPLES / "grafana" / "driftline.json"
    environment = COMPOSE["services"]["grafana"]["environment"]
    assert environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == board


def test_nobody_can_sign_in_to_grafana_and_it_asks_no_other_host() -> None:
    environment = COMPOSE["services"]["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    switches = [name for name in environment if "ANALYTICS" in name or "NEWS" in name or "BASIC" in name]
    assert [environment[name] for name in switches] == ["false"] * 5


def test_the_board_has_a_fixed_uid_and_a_variable_for_the_pipeline() -> None:
    assert BOARD["uid"] == "driftline"
    assert VARIABLES["pipeline"]["query"]["query"] == "label_values(driftline_process_info, pipeline)"
    assert "id" not in BOARD  # it belongs to one Grafana


def test_each_panel_has_its_own_place_and_id_and_asks_for_the_chosen_pipeline() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24  # the width of Grafana's grid
    for panel in panels:
        for target in panel.get("targets", ()):
            assert '{pipeline="$pipeline"' in target["expr"], panel["title"]
            assert target["datasource"]["uid"] == "${datasource}"
