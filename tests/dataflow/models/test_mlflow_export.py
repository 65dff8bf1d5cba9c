"""`driftline models export --to mlflow`: the champion of a run in a real registry."""

from pathlib import Path
from signal import SIGTERM

import orjson
from harness import DRIFTLINE, PATIENCE, Project, run_flow, wait_until
from made_flights import traffic
from mlflow_server import ask, mlflow_server, tags


def test_the_champion_is_in_the_registry_once_with_its_metrics(project: Project, tmp_path: Path) -> None:
    project.send(traffic(200))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    lineage = orjson.loads(project.invoke("models", "show", "champion", "--json").stdout)
    with mlflow_server(tmp_path) as server:
        export = ("export", "champion", "--to", "mlflow", "--out", server)
        first, again = project.invoke("models", *export), project.invoke("models", *export)
        version = ask(server, "registered-models/alias", name="flight_delays", alias="champion")[
            "model_version"
        ]
        run = ask(server, "runs/get", run_id=version["run_id"])["run"]
    assert first.exit_code == 0, first.exception
    assert "it is version 1 of 'flight_delays' in MLflow with the alias champion" in first.stdout
    assert "it was already version 1" in again.stdout
    assert tags(version)["driftline.snapshot"] == lineage["snapshot"]["sha256"]
    metrics = {each["key"]: each["value"] for each in run["data"]["metrics"]}
    assert metrics["model/LogLoss"] == lineage["metrics"]["model"]["LogLoss"]


def test_the_mirror_follows_each_change_until_it_is_stopped(project: Project, tmp_path: Path) -> None:
    project.send(traffic(200))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    with mlflow_server(tmp_path) as server:
        mirror = project.start(DRIFTLINE, "models", "mirror", DRIFTLINE_MLFLOW=server)
        wait_until(lambda: "v1: it is version 1 of 'flight_delays'" in mirror.said(), PATIENCE)
        project.invoke("models", "rollback", "v1", "--reason", "too many false alarms", "--wait", "0")
        run_flow(project.engine(), "learn")
        wait_until(lambda: "with the alias champion" in mirror.said().partition("r3: ")[2], PATIENCE)
        mirror.process.send_signal(SIGTERM)
        assert mirror.process.wait(PATIENCE) == 0
        champion = ask(server, "registered-models/alias", name="flight_delays", alias="champion")
    assert tags(champion["model_version"])["driftline.version"] == "r3"


def test_a_mirror_without_a_store_is_told_what_to_set(project: Project) -> None:
    told = project.invoke("models", "mirror")
    assert "the store must be given by --out or DRIFTLINE_MLFLOW" in str(told.exception)
