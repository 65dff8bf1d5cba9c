"""Row transforms: Feast's on-demand feature views, computed for a batch of questions by the same function."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from numbers import Integral, Real
from typing import Any

from flows.core.features.batch import Question
from flows.core.features.plan import Dtype, FeaturePlan, Input, Output, Transform
from flows.core.stream.fields import INT64
from flows.core.stream.times import milliseconds

Function = Callable[[dict[str, list[Any]]], Mapping[str, Sequence[Any]]]


class Transformer:
    """Appends the transforms' features to the vectors of a batch.

    `functions` maps transforms to functions.
    """

    def __init__(self, plan: FeaturePlan, functions: Mapping[str, Function]) -> None:
        position = {name: number for number, name in enumerate((*plan.aggregated, *plan.looked_up))}
        self._steps = [
            (transform, functions[transform.name], _inputs(transform, plan, position))
            for transform in plan.transforms
        ]

    def extend(self, questions: Sequence[Question], vectors: Sequence[list[Any]]) -> dict[int, Exception]:
        """Extend the vectors in place; return the errors that functions raised, by row.

        A function that fails on the batch is called for each row, so that one event does not affect others.
        """
        if not self._steps:
            return {}
        try:
            rows = self._extended(questions, vectors)
        except Exception:  # a transform is user code
            return self._one_by_one(questions, vectors)
        for vector, row in zip(vectors, rows, strict=True):
            vector += row
        return {}

    def _one_by_one(
        self, questions: Sequence[Question], vectors: Sequence[list[Any]]
    ) -> dict[int, Exception]:
        faults: dict[int, Exception] = {}
        for number, (question, vector) in enumerate(zip(questions, vectors, strict=True)):
            try:
                vector += self._extended([question], [vector])[0]
            except Exception as error:  # user code
                faults[number] = error
        return faults

    def _extended(self, questions: Sequence[Question], vectors: Sequence[list[Any]]) -> list[list[Any]]:
        rows: list[list[Any]] = [[] for _ in questions]
        if not questions:
            return rows
        for transform, function, inputs in self._steps:
            given = {field.name: _column(field, questions) for field in transform.fields}
            given |= {name: [vector[at] for vector in vectors] for name, at in inputs.items()}
            answer = function(given)
            for output in transform.outputs:
                for row, value in zip(rows, answer[output.name], strict=True):
                    row.append(fitted(output, value))
        return rows


def _inputs(transform: Transform, plan: FeaturePlan, position: Mapping[str, int]) -> dict[str, int]:
    """Return the positions of the features that the transform reads, by full and short name.

    If two views share a short name, the last one wins.
    """
    names = {view.name: [a.name for a in view.aggregates] for view in plan.views}
    names |= {lookup.name: [f.name for f in lookup.features] for lookup in plan.lookups}
    inputs: dict[str, int] = {}
    for view in transform.views:
        for name in names[view]:
            full = f"{view}__{name}"
            inputs[full] = inputs[name] = position[full]
    return inputs


def _column(field: Input, questions: Sequence[Question]) -> list[Any]:
    values = [question.payload.get(field.name) for question in questions]
    if field.kind == "time":
        return [None if v is None else datetime.fromtimestamp(milliseconds(v) / 1000, UTC) for v in values]
    return values


def fitted(output: Output, value: Any) -> Any:
    """Convert the value to its declared type; raises `TypeError` or `ValueError` if it does not fit.

    >>> fitted(Output("n", "int"), 3.0), fitted(Output("share", "float"), True)
    (3, 1.0)
    """
    if value is None or (output.dtype == "string" and isinstance(value, str)):
        return value
    if output.dtype == "float" and isinstance(value, Real):
        number = float(value)
        if number - number != 0:
            raise ValueError(f"{output.name} must be finite or None, got {value}")
        return number
    if output.dtype == "int" and (isinstance(value, Integral) or _is_whole(value)):
        if int(value) not in INT64:
            raise ValueError(f"{output.name} must fit into 64 bits, got {value}")
        return int(value)
    raise TypeError(f"{output.name} must be {_DTYPES[output.dtype]} or None, got {value!r:.100}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


_DTYPES: Mapping[Dtype, str] = {"int": "a whole number", "float": "a number", "string": "a string"}
