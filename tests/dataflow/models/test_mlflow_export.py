"""`driftline models export --to mlflow`: the champion of a run in a real registry."""

from collections.abc import Iterator
from signal import SIGTERM

import orjson
import pytest
from harness import DRIFTLINE, PATIENCE, Project, run_flow, wait_until
from made_flights import traffic
from mlflow_server import ask, mlflow_server, tags


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of one server for all tests, since its start takes long."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="module")
def learned(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project whose champion has learned."""
    project = applied.copy_to(tmp_path_factory.mktemp("learned") / "project")
    project.send(traffic(200))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    return project


def test_the_champion_is_in_the_registry_once_with_its_metrics(learned: Project, server: str) -> None:
    lineage = orjson.loads(learned.invoke("models", "show", "champion", "--json").stdout)
    export = ("export", "champion", "--to", "mlflow", "--out", server)
    first, again = learned.invoke("models", *export), learned.invoke("models", *export)
    version = ask(server, "registered-models/alias", name="flight_delays", alias="champion")["model_version"]
    run = ask(server, "runs/get", run_id=version["run_id"])["run"]
    assert first.exit_code == 0, first.exception
    assert "it is version 1 of 'flight_delays' in MLflow with the alias champion" in first.stdout
    assert "it was already version 1" in again.stdout
    assert tags(version)["driftline.snapshot"] == lineage["snapshot"]["sha256"]
    metrics = {each["key"]: each["value"] for each in run["data"]["metrics"]}
    assert metrics["model/LogLoss"] == lineage["metrics"]["model"]["LogLoss"]


def test_the_mirror_follows_each_change_until_it_is_stopped(learned: Project, server: str) -> None:
    mirror = learned.start(DRIFTLINE, "models", "mirror", DRIFTLINE_MLFLOW=server)
    wait_until(lambda: "v1: it " in mirror.said(), PATIENCE)
    learned.invoke("models", "rollback", "v1", "--reason", "too many false alarms", "--wait", "0")
    run_flow(learned.engine(), "learn")
    wait_until(lambda: "with the alias champion" in mirror.said().partition("r3: ")[2], PATIENCE)
    mirror.process.send_signal(SIGTERM)
    assert mirror.process.wait(PATIENCE) == 0
    champion = ask(server, "registered-models/alias", name="flight_delays", alias="champion")
    assert tags(champion["model_version"])["driftline.version"] == "r3"


def test_a_mirror_without_a_store_is_told_what_to_set(project: Project) -> None:
    told = project.invoke("models", "mirror")
    assert "the store must be given by --out or DRIFTLINE_MLFLOW" in str(told.exception)
