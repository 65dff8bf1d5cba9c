"""`driftline models export --to onnx`: the file scores as River does, or there is none."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import Result
from harness import Project, run_flow
from made_numbers import NAMES, points, project_in

from flows.adapters.onnx import linear
from flows.errors import ConfigError, DriftlineError
from flows.jobs.models.versions import newest_messages

POINTS = 1500


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project after a run, which no test changes."""
    project = project_in(tmp_path_factory.mktemp("numbers") / "project")
    project.send(points(POINTS))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    return project


def export(project: Project, out: Path, version: str = "champion") -> Result:
    return project.invoke("models", "export", version, "--to", "onnx", "--out", str(out))


def test_the_file_scores_as_the_announced_model_does(learned: Project, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    done = export(learned, out)
    assert done.exit_code == 0, done.exception
    assert "River's scores on the last 1,000 served rows" in done.stdout

    running = learned.engine()
    with learned.broker() as broker:
        announced = newest_messages(running.pipeline, broker, running.sealer()).by_version["v1"]
    model = running.sealer().load(announced)
    rows = np.array([value["features"] for value in learned.values("predictions")], dtype=float)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {name: rows[:, [at]] for at, name in enumerate(NAMES)})
    rivers = [model.score(dict(zip(NAMES, row, strict=True))) for row in rows.tolist()]
    assert scores[:, 0].tolist() == pytest.approx(rivers, abs=1e-9)

    metadata = {each.key: each.value for each in onnx.load(out).metadata_props}
    assert (metadata["pipeline"], metadata["version"]) == ("numbers", "v1")
    assert metadata["labels"] == str(announced.learned) == str(POINTS)


def test_a_file_that_differs_from_river_is_not_left(
    learned: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rightly = linear.write_onnx

    def wrongly(form: linear.LinearForm, *rest: object) -> None:
        rightly(form._replace(intercept=form.intercept + 1e-6), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("flows.jobs.models.exports.write_onnx", wrongly)
    error = export(learned, tmp_path / "model.onnx").exception
    assert type(error) is DriftlineError
    assert "must give River's scores to 1e-09" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_without_a_served_row_nothing_is_exported(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    project.send(points(20))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    with project.broker() as broker:
        broker.delete_topics(["numbers.predictions"])
        broker.create_topics(project.engine().pipeline.topic_specs())
    error = export(project, tmp_path / "model.onnx").exception
    assert isinstance(error, ConfigError)
    assert "is checked on served predictions of the current feature plan" in str(error)
