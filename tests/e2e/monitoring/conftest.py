"""A real Prometheus and a real Alertmanager, configured as the examples are."""

import re
from collections.abc import Iterator

import pytest
import yaml
from harness import free_ports, server_port
from places import ROOT

from flows.runtime.runner import FLOWS
from tests.e2e.monitoring.servers import Alertmanager, Prometheus, running, tool

EXAMPLES = ROOT / "docs" / "examples" / "prometheus"


@pytest.fixture(scope="session")
def promtool() -> str:
    return tool("prometheus", "promtool")


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """Start an Alertmanager with the example's configuration."""
    program = tool("prometheus-alertmanager", "prometheus-alertmanager", "alertmanager")
    folder, server = tmp_path_factory.mktemp("alertmanager"), Alertmanager(server_port())
    command = (
        program,
        f"--config.file={EXAMPLES / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={server.address}",
        "--cluster.listen-address=",
    )
    with running(command, folder, server):
        yield server


@pytest.fixture(scope="module")
def ports() -> list[int]:
    """Return a free port for each flow, as `driftline run` numbers them."""
    first = free_ports(len(FLOWS))
    return list(range(first, first + len(FLOWS)))


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory, alertmanager: Alertmanager, ports: list[int]
) -> Iterator[Prometheus]:
    """Start a Prometheus with the examples' rules and with other targets; alerts do not wait.

    It scrapes and evaluates every second, so that a test need not wait for minutes.
    """
    program = tool("prometheus", "prometheus")
    folder, server = tmp_path_factory.mktemp("prometheus"), Prometheus(server_port())
    configuration = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
    configuration["global"] = dict.fromkeys(configuration["global"], "1s")
    (job,) = configuration["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    (manager,) = configuration["alerting"]["alertmanagers"]
    manager["static_configs"] = [{"targets": [alertmanager.address]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    for name in configuration["rule_files"]:
        rules = (EXAMPLES / name).read_text()
        (folder / name).write_text(re.sub(r"^ +for: .*\n", "", rules, flags=re.MULTILINE))
    command = (
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={server.address}",
    )
    with running(command, folder, server):
        yield server
