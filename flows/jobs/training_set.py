"""The training set: what was served, joined with the labels, as one parquet file.

A row is a prediction whose label came. Its features are those of the predictions topic, as the model got
them, or those that Feast's point-in-time join finds for the same entities and moments.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson
import pyarrow as pa

from flows.adapters.parquet.records import write_parquet
from flows.adapters.sqlite.by_id import ById
from flows.core.evaluation.label_join import valid_labels
from flows.core.features.plan import FeaturePlan
from flows.core.models.baselines import Score
from flows.core.models.tasks import Truth
from flows.core.serving.prediction_message import ServedPrediction, decode_served
from flows.core.stream.broker import Broker, Record, read_since
from flows.core.stream.fields import Field, Flag, Key, KeyKind, Number, Text, resolved
from flows.core.stream.times import milliseconds
from flows.errors import ConfigError, InvalidRecord
from flows.host.arrow import KEY_TYPES, TYPES, Fit, column
from flows.pipeline import Pipeline, Stream
from flows.runtime.engine import Engine

if TYPE_CHECKING:
    from flows.adapters.feast.history import FeastHistory

ROWS = 10_000  # of a row group
_JOINED = 2_000  # rows of one join in Feast, which holds all rows of the history within their ttl
_MOMENT, _TIME = pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC")
_SCORES = dict.fromkeys(("multiclass", "anomaly"), pa.map_(pa.string(), pa.float64()))  # the others: a number


class Example(NamedTuple):
    """A prediction and the label that became known at `known_at` (ms)."""

    served: ServedPrediction
    label: Truth
    known_at: int


class Source(Protocol):
    """Where the plan's features of examples come from."""

    def columns(self, examples: Sequence[Example]) -> list[list[Any]]:
        """The features of the examples, a list for each name of the plan."""


class AsServed:
    """The features that the model got."""

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs

    def columns(self, examples: Sequence[Example]) -> list[list[Any]]:
        rows = [example.served.prediction.features[self._inputs :] for example in examples]
        return [list(column) for column in zip(*rows, strict=True)]


class ThroughFeast:
    """The features that Feast's join finds in the offline store; `events` has the payloads by id."""

    def __init__(self, history: "FeastHistory", events: ById) -> None:
        self._history = history
        self._events = events

    def columns(self, examples: Sequence[Example]) -> list[list[Any]]:
        pieces = [self._join(examples[at : at + _JOINED]) for at in range(0, len(examples), _JOINED)]
        return [list(chain.from_iterable(parts)) for parts in zip(*pieces, strict=True)]

    def _join(self, examples: Sequence[Example]) -> list[list[Any]]:
        payloads = self._events.get([example.served.prediction.id for example in examples])
        asked = [example.served.asked for example in examples]
        return self._history.columns(
            [each.keys for each in asked],
            [each.moment for each in asked],
            [orjson.loads(payload or b"{}") for payload in payloads],
        )


class TrainingSet:
    """Joins the predictions of `plan` with their labels.

    The plan's features come from `source`. `rows` counts what is written, and `left_out` the predictions that
    are not, by the reason.
    """

    def __init__(self, pipeline: Pipeline, plan: FeaturePlan, source: Source) -> None:
        self.rows = 0
        self.left_out: Counter[str] = Counter()
        self.schema = schema_of(pipeline, plan)
        self._pipeline = pipeline
        self._plan = plan
        self._source = source
        self._labels = pipeline.labels.decoder()
        self._inputs = [number for number, name in enumerate(pipeline.inputs) if name not in plan.entities]
        fields = resolved(pipeline.events.fields, plan.key_kinds)
        inputs = [_type(fields[name]) for name in pipeline.inputs]
        self._fits = Fit([*inputs, *[TYPES[dtype] for dtype in plan.dtypes]])

    def write(self, broker: Broker, out: Path, folder: Path, read: Callable[[int], None]) -> None:
        """Write the file `out`, with the labels in `folder` meanwhile; `read` is told of predictions read."""
        with closing(ById(folder / "labels.db")) as labels:
            labels.put(self._truths(broker), again=True)
            write_parquet(out, self._tables(self._examples(broker, labels, read)), self.schema)

    def summary(self) -> str:
        """What came of it, in one line."""
        left_out = ", ".join(f"{number:,} {reason}" for reason, number in self.left_out.items() if number)
        return f"{self.rows:,} rows; predictions left out: {left_out or 'none'}"

    def _truths(self, broker: Broker) -> Iterator[tuple[str, bytes]]:
        records = read_since(broker, self._pipeline.labels.topic, 0)
        for label in valid_labels(records, self._labels, self._pipeline.target):
            yield label.id, orjson.dumps([label.truth, label.time])

    def _examples(self, broker: Broker, labels: ById, read: Callable[[int], None]) -> Iterator[Example]:
        records = read_since(broker, self._pipeline.topic("predictions"), 0)
        while batch := list(islice(records, ROWS)):
            served = [each for record in batch for each in self._of_plan(record)]
            found = labels.get([each.prediction.id for each in served])
            self.left_out["without a label"] += found.count(None)
            for each, label in zip(served, found, strict=True):
                if label is not None:
                    yield Example(each, *orjson.loads(label))
            read(len(batch))

    def _of_plan(self, record: Record) -> Iterator[ServedPrediction]:
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
        features, keys = served.prediction.features, served.asked.keys
        if not self._fits(features) or len(keys) != len(self._plan.entities):
            raise InvalidRecord("schema", "the features or keys are not those of the plan")
        for key, kind in zip(keys, self._plan.key_types, strict=True):
            if key is not None and type(key) is not kind:
                raise InvalidRecord("schema", f"key {key!r} is of another type than in the plan")

    def _tables(self, examples: Iterator[Example]) -> Iterator[pa.Table]:
        while group := list(islice(examples, ROWS)):
            self.rows += len(group)
            yield self._table(group)

    def _table(self, group: Sequence[Example]) -> pa.Table:
        asked = [example.served.asked for example in group]
        answers = [example.served.prediction for example in group]
        columns: list[list[Any]] = [[p.id for p in answers], [a.moment for a in asked]]
        columns += [[a.keys[number] for a in asked] for number in range(len(self._plan.entities))]
        columns += [[p.features[number] for p in answers] for number in self._inputs]
        columns += self._source.columns(group)
        columns += [[e.label for e in group], [e.known_at for e in group]]
        columns += [[_cell(p.score) for p in answers], [p.version for p in answers]]
        pairs = zip(columns, self.schema.types, strict=True)
        return pa.table([_array(column, dtype) for column, dtype in pairs], schema=self.schema)


@contextmanager
def feast_source(running: Engine, plan: FeaturePlan, broker: Broker, folder: Path) -> Iterator[ThroughFeast]:
    """Opens Feast's offline store, and collects in `folder` what on-demand views read of the events."""
    from flows.adapters.feast.history import FeastHistory  # Feast takes seconds to import

    store = running.feature_store()
    with closing(ById(folder / "events.db")) as events:
        if plan.transforms:
            events.put(
                _payloads(running.pipeline.events, plan.key_kinds, broker), again=False
            )  # a duplicate was not answered
        yield ThroughFeast(FeastHistory(store, plan), events)


def _payloads(events: Stream, keys: Mapping[str, KeyKind], broker: Broker) -> Iterator[tuple[str, bytes]]:
    decoder = events.decoder(keys)
    for record in read_since(broker, events.topic, 0):
        try:
            event = decoder.decode(record)
        except InvalidRecord:
            continue  # it has no prediction
        yield event.id, orjson.dumps(event.payload)


def predictions_in(running: Engine, broker: Broker) -> int:
    """How many records there are on the predictions topic."""
    return sum(end - start for start, end in broker.offsets(running.pipeline.topic("predictions")))


def schema_of(pipeline: Pipeline, plan: FeaturePlan) -> pa.Schema:
    """The columns of a training set; raises `ConfigError` where an input has the name of another one."""
    fields = resolved(pipeline.events.fields, plan.key_kinds)
    columns = [("id", pa.string()), ("event_timestamp", _MOMENT)]
    columns += [(entity, KEY_TYPES[plan.key_kinds[entity]]) for entity in plan.entities]
    columns += [(name, _type(fields[name])) for name in pipeline.inputs if name not in plan.entities]
    columns += [(name, TYPES[dtype]) for name, dtype in zip(plan.names, plan.dtypes, strict=True)]
    label, score = _type(pipeline.labels.fields[pipeline.target]), _SCORES.get(pipeline.task, pa.float64())
    columns += [("label", label), ("known_at", _TIME), ("score", score), ("model", pa.string())]
    number = Counter(name for name, _ in columns)
    if twice := [name for name, times in number.items() if times > 1]:
        raise ConfigError(
            f"the training set would have two columns {twice[0]!r}; call the field of topic "
            f"{pipeline.events.topic!r} otherwise"
        )
    return pa.schema(columns)


def _type(field: Field) -> pa.DataType:
    if isinstance(field, Key):
        return KEY_TYPES["integer" if field.kind == "integer" else "text"]
    kinds = ((Text, pa.string()), (Number, pa.float64()), (Flag, pa.bool_()))
    return next((dtype for kind, dtype in kinds if isinstance(field, kind)), _TIME)


def _cell(score: Score) -> Any:
    """A score as Arrow takes it: the items of a map."""
    return [(of, float(n)) for of, n in score.items()] if isinstance(score, Mapping) else score


def _array(values: Iterable[Any], dtype: pa.DataType) -> pa.Array:
    if dtype == _TIME:
        values = [None if value is None else milliseconds(value) for value in values]
    return column(values, dtype)
