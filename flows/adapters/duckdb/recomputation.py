"""Recomputes the features of served predictions in DuckDB, from the records of the log.

The data is in a temporary database file, so a range may be larger than memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log2
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from flows.adapters.duckdb.schemas import column_of, questions_schema, records_schema, requests_schema
from flows.core.features import sql
from flows.core.features.plan import FeaturePlan, View

_QUESTION = "driftline_question"  # a name that no field has
_CHUNK = 50_000  # questions compared at a time
_EXACT_BITS = 104  # precision of a sum in whole units that the SQL can convert to a double


class StreamRecord(NamedTuple):
    """A record that feeds views: its position, id, time (ms) and fields."""

    partition: int
    offset: int
    id: str
    time: int
    values: Mapping[str, Any]


class ServedFeatures(NamedTuple):
    """A served prediction: `partition` is that of its event, `read` is as in `Question`.

    `features` are in the plan's order.
    """

    id: str
    time: int
    moment: int
    partition: int
    keys: Sequence[str | int | None]
    read: Sequence[int]
    features: Sequence[Any]


class RecomputationVerdict(NamedTuple):
    """The result for one view and one chunk of questions: the numbers of those that differ.

    `explained` are the differences that disappear without the records that arrived after the prediction.
    """

    questions: int
    explained: list[int]
    mismatches: list[int]


class Recomputation:
    """The records and questions of one plan, in a database in `folder`.

    `texts` are the text fields of each stream; the others are numbers. Add the data, call `prepare` once, and
    then `compare`.
    """

    def __init__(self, folder: Path, plan: FeaturePlan, texts: Mapping[str, set[str]]) -> None:
        self._plan = plan
        self._connection = duckdb.connect(folder / "recomputation.db")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._bits: dict[str, dict[str, int]] = {}
        self._schemas = {stream: records_schema(plan, stream, texts[stream]) for stream in plan.streams}
        self._questions = questions_schema(plan)
        self._requests = requests_schema(plan)
        self.questions = 0
        for stream, schema in self._schemas.items():
            self._create(sql.records_table(stream), schema)
        self._create("questions", self._questions)
        self._create("requests", self._requests)

    def add_records(self, stream: str, records: Sequence[StreamRecord]) -> None:
        """Add records of a stream that the engine accepted."""
        schema = self._schemas[stream]
        columns: list[list[Any]] = [list(column) for column in zip(*[r[:4] for r in records], strict=True)]
        fields = [name.partition("_")[2] for name in schema.names[4:]]
        columns += [[record.values.get(field) for record in records] for field in fields]
        self._insert(sql.records_table(stream), columns, schema)

    def add_questions(self, served: Sequence[ServedFeatures]) -> None:
        """Add predictions, numbered in the given order."""
        first = self.questions
        self.questions += len(served)
        rows = [
            (first + number, s.id, s.time, s.moment, s.partition, *s.keys, *s.read, *s.features)
            for number, s in enumerate(served)
        ]
        self._insert("questions", [list(column) for column in zip(*rows, strict=True)], self._questions)

    def add_requests(self, requests: Sequence[tuple[Any, ...]]) -> None:
        """Add events: their id and the request fields of the transforms (times in ms)."""
        self._insert("requests", [list(column) for column in zip(*requests, strict=True)], self._requests)

    def prepare(self) -> None:
        """Number the records in their order, and convert summed columns to whole units."""
        for stream in self._plan.streams:
            table = sql.records_table(stream)
            bits = {column: b for column in self._summed(stream) if (b := self._bits_of(table, column))}
            self._bits[stream] = bits
            units = "".join(
                f", CAST({sql.value_column(c)} * pow(2.0, {b}) AS HUGEINT) AS {sql.units_column(c)}"
                for c, b in bits.items()
            )
            order = 'row_number() OVER (ORDER BY time, partition, "offset") AS seq'
            self._connection.execute(
                f"CREATE OR REPLACE TABLE {table} AS SELECT *, {order}{units} FROM {table}"
            )

    def compare(self, view: View) -> Iterator[RecomputationVerdict]:
        """Compare the view's features of all questions; yield one verdict for each chunk."""
        for first in range(0, self.questions, _CHUNK):
            last = min(first + _CHUNK, self.questions) - 1
            rows = self._rows(sql.comparison(view, self._bits[view.stream], first, last))
            unequal = {n: later for n, equal, later in rows if not equal}
            explained = self._explained(view, [n for n, later in unequal.items() if later])
            yield RecomputationVerdict(last + 1 - first, explained, sorted(unequal.keys() - set(explained)))

    def difference(self, view: View, question: int) -> tuple[ServedFeatures, list[Any]]:
        """Return what was served for a question, with only the view's features, and these recomputed."""
        names = ", ".join(sql.name(f"{view.name}__{a.name}") for a in view.aggregates)
        key = sql.key_column(view.entity)
        query = f"SELECT id, time, moment, partition, {key}, {names} FROM questions WHERE n = ?"
        (row,) = self._connection.execute(query, [question]).fetchall()
        (computed,) = self._rows(sql.recomputation(view, self._bits[view.stream], question))
        identity, time, moment, partition, own_key, *features = row
        return ServedFeatures(identity, time, moment, partition, [own_key], [], tuple(features)), list(
            computed
        )

    def later_records(self, view: View, question: int) -> list[tuple[str, int, int]]:
        """Return the records (id, offset, time in ms) that arrived after the question was answered."""
        return self._rows(sql.later_records(view, question))

    def asked(self, first: int, stop: int) -> pa.Table:
        """Return the questions `first` to `stop` - 1 as input for Feast's join.

        The column `driftline_question` has their numbers.
        """
        keys = "".join(f", q.{sql.key_column(e)} AS {sql.name(e)}" for e in self._plan.entities)
        fields = "".join(f", r.{sql.name(field)}" for field in self._requests.names[1:])
        query = f"""
            SELECT q.n AS {_QUESTION}, make_timestamp(q.moment) AS event_timestamp{keys}{fields}
            FROM questions q LEFT JOIN requests r ON r.id = q.id
            WHERE q.n >= {first} AND q.n < {stop} ORDER BY q.n"""
        return self._connection.sql(query).to_arrow_table()

    def differing(self, joined: pa.Table, features: Sequence[str], keys: Sequence[str]) -> tuple[int, int]:
        """Return how many questions of `joined` have all `keys`, and how many of these differ in `features`.

        `joined` has these features and the column `driftline_question`.
        """
        self._connection.register("joined", joined)
        same = " AND ".join(f"q.{sql.name(f)} IS NOT DISTINCT FROM j.{sql.name(f)}" for f in features)
        has_keys = " AND ".join(f"q.{sql.key_column(key)} IS NOT NULL" for key in keys) or "true"
        query = f"""
            SELECT count(*), count(*) FILTER (WHERE NOT ({same}))
            FROM questions q JOIN joined j ON j.{_QUESTION} = q.n WHERE {has_keys}"""
        ((compared, different),) = self._rows(query)
        self._connection.unregister("joined")
        return compared, different

    def close(self) -> None:
        """Close the database; the caller removes its file."""
        self._connection.close()

    def _explained(self, view: View, questions: list[int]) -> list[int]:
        if not questions:
            return []
        rows = self._rows(sql.comparison_as_arrived(view, self._bits[view.stream], questions))
        return [n for n, equal, _ in rows if equal]

    def _summed(self, stream: str) -> list[str]:
        aggregates = [a for view in self._plan.views if view.stream == stream for a in view.aggregates]
        return list(dict.fromkeys(a.column for a in aggregates if a.function in sql.SUMMED))

    def _bits_of(self, table: str, column: str) -> int:
        """Return the binary digits after the point with which values are whole and sums fit; 0 if none."""
        value = f"abs({sql.value_column(column)})"
        query = f"SELECT min({value}) FILTER (WHERE {value} > 0), max({value}), count(*) FROM {table}"
        ((smallest, largest, count),) = self._rows(query)
        if not smallest:
            return 52
        bits = 52 - floor(log2(smallest))
        needed = bits + ceil(log2(largest)) + ceil(log2(count + 1)) + 1
        return bits if needed <= _EXACT_BITS and bits > 0 else 0

    def _create(self, table: str, schema: pa.Schema) -> None:
        self._connection.register("empty", schema.empty_table())
        self._connection.execute(f"CREATE TABLE {table} AS SELECT * FROM empty")
        self._connection.unregister("empty")

    def _insert(self, table: str, columns: Sequence[list[Any]], schema: pa.Schema) -> None:
        arrays = [column_of(values, of_type) for values, of_type in zip(columns, schema.types, strict=True)]
        self._connection.register("batch", pa.table(arrays, schema=schema))
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM batch")
        self._connection.unregister("batch")

    def _rows(self, query: str) -> list[Any]:
        rows: list[Any] = self._connection.execute(query).fetchall()
        return rows
