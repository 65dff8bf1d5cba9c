"""The rules, by Prometheus's own tool: they are valid, and each alert fires when it has to and only then."""

import subprocess
from pathlib import Path

import pytest
import yaml
from places import ROOT

from tests.e2e.monitoring.servers import tool

RULES = ROOT / "docs" / "examples" / "prometheus"
TESTS = Path(__file__).with_name("alerts.test.yml")
HEALTHY, *WORLDS = yaml.safe_load(TESTS.read_text())["tests"]
ALERTS = yaml.safe_load((RULES / "alerts.yml").read_text())
NAMES = [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]


def checked(*command: object) -> str:
    """Return the output of a command that has to succeed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_valid(promtool: str) -> None:
    files = [RULES / "recording.yml", RULES / "alerts.yml"]
    said = checked(promtool, "check", "rules", "--lint=all", "--lint-fatal", *files)
    assert said.count("SUCCESS") == 2


def test_the_configuration_is_valid_with_the_rules_that_it_names(promtool: str) -> None:
    assert checked(promtool, "check", "config", RULES / "prometheus.yml").count("rules found") == 2


def test_the_configuration_of_alertmanager_is_valid() -> None:
    amtool = tool("prometheus-alertmanager", "amtool")
    assert "SUCCESS" in checked(amtool, "check-config", RULES / "alertmanager.yml")


def test_each_alert_fires_in_its_world_and_in_no_other(promtool: str) -> None:
    assert "SUCCESS" in checked(promtool, "test", "rules", TESTS)


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_has_a_world_in_which_it_fires_and_one_beside_the_healthy_in_which_it_does_not(
    name: str,
) -> None:
    assert name in [each["alertname"] for each in HEALTHY["alert_rule_test"]]
    fires = [
        bool(each.get("exp_alerts"))
        for world in WORLDS
        for each in world.get("alert_rule_test", ())
        if each["alertname"] == name
    ]
    assert set(fires) == {True, False}
