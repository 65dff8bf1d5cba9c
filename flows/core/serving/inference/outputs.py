"""The outputs of a model as tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

from flows.core.models.tasks import Task
from flows.core.serving.inference.tensors import Tensor
from flows.core.stream.times import iso

_WITH_LABEL = ("binary", "multiclass")


def outputs(task: Task, scores: Sequence[Any]) -> list[Tensor]:
    """Return the scores, and for a classification the predicted labels.

    The scores of several classes are a matrix, whose columns are those of the output `classes`.
    """
    rows = len(scores)
    if task.name != "multiclass":
        found = [Tensor("score", "FP64", [rows], list(map(float, scores)))]
    else:
        classes = sorted({name for score in scores for name in score})
        matrix = [score.get(name, 0.0) for score in scores for name in classes]
        found = [
            Tensor("score", "FP64", [rows, len(classes)], matrix),
            Tensor("classes", "BYTES", [len(classes)], classes),
        ]
    if task.name in _WITH_LABEL:
        datatype = "BOOL" if task.name == "binary" else "BYTES"
        labels = [task.predicted_label(score) for score in scores]
        found.append(Tensor("label", datatype, [rows], labels))  # type: ignore[arg-type]
    return found


def as_of(times: Sequence[int | None]) -> Tensor:
    """Return the output with the oldest event time of each row's features, null if none was stored."""
    texts = [None if time is None else iso(time) for time in times]
    return Tensor("features_as_of", "BYTES", [len(texts)], texts)


def described_outputs(task: Task) -> list[Mapping[str, Any]]:
    """Return the metadata of the outputs of a task; -1 is a size that depends on the request."""
    has_matrix = task.name == "multiclass"
    shape = [-1, -1] if has_matrix else [-1]
    described: list[Mapping[str, Any]] = [{"name": "score", "datatype": "FP64", "shape": shape}]
    if has_matrix:
        described.append({"name": "classes", "datatype": "BYTES", "shape": [-1]})
    if task.name in _WITH_LABEL:
        datatype = "BOOL" if task.name == "binary" else "BYTES"
        described.append({"name": "label", "datatype": datatype, "shape": [-1]})
    return described
