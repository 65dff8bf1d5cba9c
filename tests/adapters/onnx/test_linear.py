"""ONNX files: standard operators in float64, which onnxruntime runs as River scores."""

from pathlib import Path
from random import Random

import onnx
import pytest
from river import linear_model, preprocessing

from flows.adapters.onnx.linear import onnx_scores, write_onnx
from flows.core.exporting.linear_form import LinearForm, linear_form
from flows.core.models.model import Model
from flows.errors import ConfigError

NAMES = ("amount", "age in days", "visits__mean_1h")


def model(rows: int = 500) -> Model:
    random = Random(3)
    made = Model("v1", preprocessing.StandardScaler() | linear_model.LogisticRegression())
    for _ in range(rows):
        row = [random.gauss(1e6, 1e5), random.random(), random.gauss(0, 1e-6)]
        assert made.learn(dict(zip(NAMES, row, strict=True)), row[0] > 1e6) is None
    return made


def test_the_runtime_gives_rivers_scores(tmp_path: Path) -> None:
    made, random, file = model(), Random(4), tmp_path / "model.onnx"
    write_onnx(linear_form(made.estimator, NAMES, "ONNX"), {}, file)
    rows = [[random.gauss(1e6, 3e5), random.random(), random.gauss(0, 1e-5)] for _ in range(800)]
    rivers = [made.score(dict(zip(NAMES, row, strict=True))) for row in rows]
    assert onnx_scores(file, NAMES, rows) == pytest.approx(rivers, abs=1e-12)


def test_a_file_has_an_input_for_each_feature_and_only_standard_operators(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    write_onnx(linear_form(model().estimator, NAMES, "ONNX"), {"pipeline": "p", "labels": "500"}, file)
    read = onnx.load(file)
    assert [each.name for each in read.graph.input] == list(NAMES)
    for each in (*read.graph.input, *read.graph.output):
        tensor = each.type.tensor_type
        assert tensor.elem_type == onnx.TensorProto.DOUBLE
        assert [d.dim_param or d.dim_value for d in tensor.shape.dim] == ["N", 1]
    assert [each.name for each in read.graph.output] == ["score"]
    assert [(each.domain, each.version) for each in read.opset_import] == [("", 17)]
    assert {each.domain for each in read.graph.node} == {""}
    assert {each.key: each.value for each in read.metadata_props} == {"pipeline": "p", "labels": "500"}


@pytest.mark.parametrize("probability", [True, False])
def test_one_feature_and_extreme_sums_are_scored(tmp_path: Path, probability: bool) -> None:
    file = tmp_path / "model.onnx"
    write_onnx(LinearForm(("x",), (0.0,), (1.0,), (1.0,), 0.0, probability), {}, file)
    expected = [0.0, 0.5, 1.0] if probability else [-800.0, 0.0, 800.0]
    assert onnx_scores(file, ("x",), [[-800], [0], [800]]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("names", [(), ("score",)])
def test_names_that_a_graph_cannot_have_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    ones = (1.0,) * len(names)
    with pytest.raises(ConfigError, match="ONNX"):
        write_onnx(LinearForm(names, ones, ones, ones, 0.0, True), {}, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"needs the package onnx .*; install `driftline\[onnx\]`"):
        write_onnx(LinearForm(("x",), (0.0,), (1.0,), (1.0,), 0.0, True), {}, tmp_path / "model.onnx")
