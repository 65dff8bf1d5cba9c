"""Versions in the registry of a real MLflow server, read by its REST interface."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import free_port
from made_facts import LINEAGE, assessed, facts
from mlflow import MlflowClient
from mlflow_server import ask, mlflow_server, tags

from flows.adapters.mlflow.registry import MirroredVersion, mirror
from flows.core.exporting.facts import ModelFacts
from flows.core.lineage import Lineage, SnapshotDigest
from flows.errors import ConfigError, StoreError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


def version(pipeline: str, name: str = "v3", content: bytes = b"a pickle") -> ModelFacts:
    digest = SnapshotDigest.of(content)
    lineage = LINEAGE._replace(pipeline=pipeline, version=name, snapshot=digest)
    return facts(lineage=lineage, measured=assessed(200))


def with_alias(server: str, name: str, alias: str) -> dict:
    return ask(server, "registered-models/alias", name=name, alias=alias)["model_version"]


def test_a_version_has_its_run_with_metrics_parameters_and_lineage(server: str) -> None:
    registered = version("flights")
    assert mirror(registered, ["champion"], server) == MirroredVersion("flights", "1", True)

    found = with_alias(server, "flights", "champion")
    assert (found["version"], found["description"]) == ("1", LINEAGE.cause)
    assert tags(found)["driftline.version"] == "v3"
    assert tags(found)["driftline.snapshot"] == registered.lineage.snapshot.sha256
    assert LINEAGE.code is not None
    assert tags(found)["mlflow.source.git.commit"] == LINEAGE.code.commit

    run = ask(server, "runs/get", run_id=found["run_id"])["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {each["key"]: (each["value"], each["step"]) for each in run["data"]["metrics"]}
    assert metrics == {"model/ROCAUC": (0.75, 4000), "majority/ROCAUC": (0.5, 4000)}
    parameters = {each["key"]: each["value"] for each in run["data"]["params"]}
    assert parameters == {"StandardScaler.with_std": "True", "LogisticRegression.l2": "0.0"}


def test_the_artifacts_are_the_lineage_and_the_card(server: str, tmp_path: Path) -> None:
    registered = version("artifacts")
    mirror(registered, ["champion"], server)
    client = MlflowClient(tracking_uri=server, registry_uri=server)
    run_id = client.get_model_version_by_alias("artifacts", "champion").run_id
    folder = Path(client.download_artifacts(run_id, "", str(tmp_path)))
    assert {file.name for file in folder.iterdir()} == {"lineage.json", "model-card.md"}
    assert Lineage.from_json((folder / "lineage.json").read_bytes()) == registered.lineage
    assert (folder / "model-card.md").read_text().startswith("# artifacts v3")


def test_a_snapshot_is_registered_once_and_its_alias_moves(server: str) -> None:
    first, second = version("moves", "v1", b"1"), version("moves", "v2", b"2")
    assert mirror(first, ["champion"], server) == ("moves", "1", True)
    assert mirror(second, ["challenger"], server) == ("moves", "2", True)
    assert mirror(second, ["champion"], server) == ("moves", "2", False)
    assert with_alias(server, "moves", "champion")["version"] == "2"
    assert ask(server, "registered-models/get", name="moves")["registered_model"]["aliases"] == [
        {"alias": "champion", "version": "2"}
    ]


def test_an_old_state_under_a_new_version_is_registered(server: str) -> None:
    assert mirror(version("back", "v1"), [], server).number == "1"
    assert mirror(version("back", "v3"), [], server).number == "2"


def test_a_server_that_is_down_is_told() -> None:
    with pytest.raises(
        StoreError, match=r"MLflow at http://127\.0\.0\.1:\d+ failed: .*; check that --out is"
    ):
        mirror(facts(), [], f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize("store", ["nonsense://store", "missing/../folder"])
def test_a_store_that_mlflow_refuses_is_told(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="check that --out is the URL of an MLflow server"):
        mirror(facts(), [], store)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(
        ConfigError, match=r"needs the package mlflow-skinny .*; install `driftline\[mlflow\]`"
    ):
        mirror(facts(), [], "http://127.0.0.1:9")
