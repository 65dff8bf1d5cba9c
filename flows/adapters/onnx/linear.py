"""Linear models as ONNX graphs in float64, from standard operators only.

The operators for linear models in `ai.onnx.ml` compute in float32, which moves scores by 1e-7.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.core.exporting.linear_form import LinearForm
from flows.errors import ConfigError

OPSET = 17  # of the operators; onnxruntime 1.13 (2022) and later run it
IR = 8  # the version of the format that belongs to it
OUTPUT = "score"


def write_onnx(form: LinearForm, metadata: Mapping[str, str], file: Path) -> None:
    """Write the graph of a linear model: an input of shape [N, 1] for each feature, and the output `score`.

    Raises `ConfigError` without the package onnx, and for features that a graph cannot have.
    """
    onnx = _imported("onnx")
    if not form.names or OUTPUT in form.names:
        raise ConfigError(
            f"a model for ONNX must have features, none of them called {OUTPUT!r} like the output, got "
            f"{', '.join(form.names) or 'none'}; rename it"
        )
    model = onnx.helper.make_model(
        _graph(onnx, form),
        producer_name="driftline",
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def onnx_scores(file: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[float]:
    """Return the scores that onnxruntime computes with a file for rows of the features `names`.

    Raises `ConfigError` without the package onnxruntime.
    """
    runtime = _imported("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    (scores,) = session.run([OUTPUT], {name: columns[:, [at]] for at, name in enumerate(names)})
    found: list[float] = scores[:, 0].tolist()
    return found


def _graph(onnx: Any, form: LinearForm) -> Any:
    helper, double = onnx.helper, onnx.TensorProto.DOUBLE

    def constant(name: str, values: Sequence[float], *shape: int) -> Any:
        return helper.make_tensor(name, double, shape, values)

    # the names of constants and results begin with a space, which no feature's name does
    width, link = len(form.names), "Sigmoid" if form.probability else "Identity"
    nodes = [
        helper.make_node("Concat", list(form.names), [" features"], axis=1),
        helper.make_node("Sub", [" features", " means"], [" centred"]),
        helper.make_node("Div", [" centred", " deviations"], [" scaled"]),
        helper.make_node("MatMul", [" scaled", " weights"], [" weighted"]),
        helper.make_node("Add", [" weighted", " intercept"], [" sum"]),
        helper.make_node(link, [" sum"], [OUTPUT]),
    ]
    constants = [
        constant(" means", form.means, 1, width),
        constant(" deviations", form.deviations, 1, width),
        constant(" weights", form.weights, width, 1),
        constant(" intercept", [form.intercept], 1, 1),
    ]
    inputs = [helper.make_tensor_value_info(name, double, ["N", 1]) for name in form.names]
    outputs = [helper.make_tensor_value_info(OUTPUT, double, ["N", 1])]
    return helper.make_graph(nodes, "driftline", inputs, outputs, constants)


def _imported(package: str) -> Any:
    """Import a package of the extra `onnx`; raises `ConfigError` if it is missing."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"an export to ONNX needs the package {package} ({error}); install `driftline[onnx]`"
        ) from None
