"""Writes a training set: the predictions on the topic, with features and labels, as one parquet file."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from flows.adapters.parquet.records import write_parquet
from flows.adapters.sqlite.by_id import ById
from flows.core.evaluation.label_join import valid_labels
from flows.core.features.plan import FeaturePlan
from flows.core.serving.prediction_message import ServedPrediction, decode_served
from flows.core.stream.broker import Broker, Record, read_since
from flows.core.stream.fields import resolved
from flows.errors import InvalidRecord
from flows.host.arrow import TYPES, Fit
from flows.jobs.training_features import Example, FeatureSource
from flows.jobs.training_schema import array_of, field_type, schema_of, score_cell
from flows.pipeline import Pipeline

ROWS = 10_000  # of a row group


class TrainingSet:
    """Joins the predictions of `plan` with their labels; the plan's features come from `source`.

    `rows` counts the rows written. `left_out` counts the predictions that are not written, by reason.
    """

    def __init__(self, pipeline: Pipeline, plan: FeaturePlan, source: FeatureSource) -> None:
        self.rows = 0
        self.left_out: Counter[str] = Counter()
        self.schema = schema_of(pipeline, plan)
        self._pipeline = pipeline
        self._plan = plan
        self._source = source
        self._labels = pipeline.labels.decoder()
        self._inputs = [number for number, name in enumerate(pipeline.inputs) if name not in plan.entities]
        fields = resolved(pipeline.events.fields, plan.key_kinds)
        inputs = [field_type(fields[name]) for name in pipeline.inputs]
        self._fits = Fit([*inputs, *[TYPES[dtype] for dtype in plan.dtypes]])

    def write(self, broker: Broker, out: Path, folder: Path, advance: Callable[[int], None]) -> None:
        """Write the file `out`, with the labels in `folder` meanwhile; `advance` counts predictions read."""
        with closing(ById(folder / "labels.db")) as labels:
            labels.put(self._truths(broker))
            write_parquet(out, self._tables(self._examples(broker, labels, advance)), self.schema)

    def summary(self) -> str:
        """Return the counts as one line."""
        left_out = ", ".join(f"{number:,} {reason}" for reason, number in self.left_out.items() if number)
        return f"{self.rows:,} rows; predictions left out: {left_out or 'none'}"

    def _truths(self, broker: Broker) -> Iterator[tuple[str, bytes]]:
        records = read_since(broker, self._pipeline.labels.topic, 0)
        for label in valid_labels(records, self._labels, self._pipeline.target):
            yield label.id, orjson.dumps([label.truth, label.time])

    def _examples(self, broker: Broker, labels: ById, advance: Callable[[int], None]) -> Iterator[Example]:
        records = read_since(broker, self._pipeline.topic("predictions"), 0)
        while batch := list(islice(records, ROWS)):
            served = [each for record in batch for each in self._of_plan(record)]
            found = labels.get([each.prediction.id for each in served])
            self.left_out["without a label"] += found.count(None)
            for each, label in zip(served, found, strict=True):
                if label is not None:
                    yield Example(each, *orjson.loads(label))
            advance(len(batch))

    def _of_plan(self, record: Record) -> Iterator[ServedPrediction]:
        """Yield the prediction if it is of the plan; count it otherwise."""
        try:
            served = decode_served(record)
            if served.plan == self._plan.hash:
                self._check(served)
                yield served
            else:
                self.left_out["of another plan"] += 1
        except InvalidRecord:
            self.left_out["that the engine did not write"] += 1

    def _check(self, served: ServedPrediction) -> None:
        """Raise `InvalidRecord` if the features or keys are not those of the plan."""
        features, keys = served.prediction.features, served.asked.keys
        if not self._fits(features) or len(keys) != len(self._plan.entities):
            raise InvalidRecord("schema", "the features or keys are not those of the plan")
        for key, kind in zip(keys, self._plan.key_types, strict=True):
            if key is not None and type(key) is not kind:
                raise InvalidRecord("schema", f"key must be {kind.__name__}, got {key!r}")

    def _tables(self, examples: Iterator[Example]) -> Iterator[pa.Table]:
        while group := list(islice(examples, ROWS)):
            self.rows += len(group)
            yield self._table(group)

    def _table(self, group: Sequence[Example]) -> pa.Table:
        asked = [example.served.asked for example in group]
        predictions = [example.served.prediction for example in group]
        columns: list[list[Any]] = [[p.id for p in predictions], [a.moment for a in asked]]
        columns += [[a.keys[number] for a in asked] for number in range(len(self._plan.entities))]
        columns += [[p.features[number] for p in predictions] for number in self._inputs]
        columns += self._source.columns(group)
        columns += [[e.label for e in group], [e.known_at for e in group]]
        columns += [[score_cell(p.score) for p in predictions], [p.version for p in predictions]]
        pairs = zip(columns, self.schema.types, strict=True)
        return pa.table([array_of(column, dtype) for column, dtype in pairs], schema=self.schema)


def predictions_in(pipeline: Pipeline, broker: Broker) -> int:
    """Return the number of records on the predictions topic."""
    return sum(end - start for start, end in broker.offsets(pipeline.topic("predictions")))
