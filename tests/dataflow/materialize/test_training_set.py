"""The training set: served features joined with labels, equal with and without Feast's join."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import Project, run_flow
from made_flights import HOUR, NOON, event, label, traffic
from made_shops import YAML
from made_tills import compiled, shops

from flows.adapters.feast.history import FeastHistory
from flows.adapters.feast.offline import OfflineStore
from flows.adapters.feast.repo import offline_folders, open_store
from flows.adapters.sqlite.by_id import ById
from flows.core.features.batch import Question
from flows.core.features.plan import Aggregate, FeaturePlan, Input, Lookup, Output, Transform, View
from flows.core.features.transforms import Transformer
from flows.core.serving.served_rows import ServedRow
from flows.core.stream.broker import Outgoing
from flows.core.stream.fields import Flag, Number, Text, Time
from flows.core.stream.times import iso, milliseconds
from flows.errors import ConfigError
from flows.host.functions import load_function
from flows.jobs.training_schema import schema_of
from flows.pipeline import Pipeline, Stream
from flows.pipelines import flights_data

__all__ = ["shops"]  # a fixture


def flights(number: int) -> list[Outgoing]:
    try:
        return list(flights_data.records(number))
    except ConfigError as error:
        pytest.skip(str(error))


def served(project: Project, records: Sequence[Outgoing]) -> None:
    """Run the predict flow, and materialize its output."""
    from flows.materialize import build  # imports Feast

    project.apply_feast()
    project.send(records)
    run_flow(project.engine(), "predict")
    run_flow(project.engine(), "materialize", build=build)


def command(project: Project, *arguments: str) -> str:
    done = project.run("training-set", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def found(query: str, **files: Path) -> list[tuple]:
    """What DuckDB answers; the files are tables of their names."""
    with duckdb.connect() as database:
        for name, file in files.items():
            database.execute(f"CREATE VIEW {name} AS FROM read_parquet('{file}')")
        return database.execute(query).fetchall()


def test_feasts_join_gives_the_same_table_as_what_was_served(project: Project) -> None:
    records = flights(2500)
    served(project, records)
    said = [command(project, "served.parquet"), command(project, "joined.parquet", "--through-feast")]
    assert said == ["2,500 rows; predictions left out: none"] * 2
    files = {name: project.directory / f"{name}.parquet" for name in ("served", "joined")}
    assert found("SELECT count(*) FROM served", **files) == [(2500,)]
    assert found("FROM served EXCEPT ALL FROM joined", **files) == []
    assert found("FROM joined EXCEPT ALL FROM served", **files) == []
    assert found("DESCRIBE served", **files) == found("DESCRIBE joined", **files)
    assert found("FROM served WHERE tail_number IS NULL", **files)  # an entity without a key is compared too


def test_a_row_is_a_prediction_as_served_beside_its_last_label(project: Project) -> None:
    project.send([r for r in traffic(50) if r.topic != "flight_labels"])
    run_flow(project.engine(), "predict")
    project.send([label("F00001", NOON + HOUR, True), label("F00003", NOON + HOUR, True)])
    project.send([label("F00003", NOON + 2 * HOUR, False), label("nobody", NOON, True)])
    project.send([Outgoing("flight_labels", b"no label", timestamp=NOON)])
    assert command(project, "out.parquet") == "2 rows; predictions left out: 48 without a label"

    running = project.engine()
    names = running.pipeline.feature_names(running.state.plan())
    table = pq.read_table(project.directory / "out.parquet")
    answers = {p["id"]: p for p in project.values("predictions")}
    assert table["id"].to_pylist() == ["F00001", "F00003"]
    assert table["label"].to_pylist() == [True, False]
    assert table["known_at"].cast(pa.int64()).to_pylist() == [NOON + HOUR, NOON + 2 * HOUR]
    for row in table.to_pylist():
        answer = answers[row["id"]]
        assert {name: row[name] for name in names} == dict(zip(names, answer["features"], strict=True))
        assert [row[entity] for entity in running.state.plan().entities] == answer["keys"]
        assert (row["score"], row["model"]) == (answer["score"], answer["model"])
    moments = table["event_timestamp"].cast(pa.int64()).to_pylist()
    assert moments == [answers[flight]["moment"] for flight in ("F00001", "F00003")]
    assert moments[0] == 1000 * milliseconds(answers["F00001"]["time"]) + 1


def test_a_number_that_no_float_holds_is_the_nearest_one_whoever_wrote_it(project: Project) -> None:
    project.send([event("F1", NOON), label("F1", NOON, True)])
    run_flow(project.engine(), "predict")
    running = project.engine()
    names, (real,) = running.pipeline.feature_names(running.state.plan()), project.records("predictions")
    body = orjson.loads(real.value)
    columns = ["minute_of_day", "origin_departures__mean_delay_3h"]  # an input, and a feature of a view
    for name in columns:
        body["features"][names.index(name)] = 2**53 + 1
    project.send([Outgoing(real.topic, orjson.dumps(body | {"score": 2**53 + 1}), timestamp=NOON)])
    assert command(project, "out.parquet") == "2 rows; predictions left out: none"
    written = pq.read_table(project.directory / "out.parquet", columns=[*columns, "score"]).to_pylist()
    assert written[1] == dict.fromkeys([*columns, "score"], 2.0**53)


def test_predictions_of_another_plan_and_foreign_records_are_left_out_and_counted(project: Project) -> None:
    project.send(
        [*[event(f"F{n}", NOON + n) for n in range(3)], *[label(f"F{n}", NOON, True) for n in range(3)]]
    )
    run_flow(project.engine(), "predict")
    real = project.records("predictions")[0]
    body = orjson.loads(real.value)
    bad = [b"{", b"{}", b"[]"]
    bad += [orjson.dumps(body | change) for change in ({"features": [1]}, {"keys": 7}, {"moment": None})]
    bad.append(orjson.dumps(body | {"features": ["x"] * len(body["features"])}))
    other = orjson.dumps(body | {"plan": "0123456789ab"})
    project.send([Outgoing(real.topic, value, timestamp=NOON) for value in (*bad, other, other)])
    assert command(project, "out.parquet") == (
        f"3 rows; predictions left out: {len(bad)} that the engine did not write, 2 of another plan"
    )


def test_without_predictions_the_file_has_the_columns_and_no_row(project: Project) -> None:
    assert command(project, "out.parquet") == "0 rows; predictions left out: none"
    assert found("FROM written", written=project.directory / "out.parquet") == []


def test_a_folder_that_is_not_there_is_one_line(project: Project) -> None:
    done = project.run("training-set", "nowhere/out.parquet")
    assert done.returncode == 2
    assert "folder nowhere does not exist" in done.stderr


def test_nothing_but_the_file_is_left(project: Project) -> None:
    before = {path.name for path in project.directory.iterdir()}
    command(project, "out.parquet")
    assert {path.name for path in project.directory.iterdir()} - before == {"out.parquet"}


def test_feast_computes_on_demand_views_from_the_fields_of_the_event(shops: Path) -> None:
    plan = compiled(shops)
    store = open_store(shops, YAML)
    moments = [1000 * (NOON + n * 1000) + 1 for n in range(3)]
    rows = [ServedRow("sales", f"till-{n % 2}", moment, [n, 2.5 * n]) for n, moment in enumerate(moments)]
    OfflineStore(offline_folders(store, plan), plan).append([], NOON, rows)
    payloads = [{"price": 10 + n, "at": iso(NOON + n * HOUR)} for n in range(3)]
    joined = FeastHistory(store, plan).columns([(row.key,) for row in rows], moments, payloads)

    vectors: list[list] = [list(row.values) for row in rows]
    questions = [Question("q", 0, payload) for payload in payloads]
    functions = {transform.name: load_function(transform) for transform in plan.transforms}
    assert Transformer(plan, functions).extend(questions, vectors) == {}
    assert [list(column) for column in zip(*vectors, strict=True)] == joined


def pipeline(**fields: object) -> Pipeline:
    return Pipeline(
        "p",
        Stream("orders", "id", "at", {"id": Text(), "at": Time(), **fields}),
        Stream("labels", "id", "at", {"id": Text(), "at": Time(), "bad": Flag()}),
        "bad",
        ("shop",),
        "s",
        model=lambda: None,
        inputs=tuple(fields),
    )


PLAN = FeaturePlan("s", (View("v", "shop", "orders", (Aggregate("n", "count", "", 1, "int"),)),))


@pytest.mark.parametrize(
    ("task", "field", "label", "score"),
    [
        ("multiclass", Text(), "string", "map<string, double>"),
        ("regression", Number(), "double", "double"),
        ("anomaly", Flag(), "bool", "map<string, double>"),
    ],
)
def test_label_and_score_have_the_type_of_the_task(task, field, label, score):
    of_task = replace(
        pipeline(shop=Text()),
        task=task,
        labels=Stream("labels", "id", "at", {"id": Text(), "at": Time(), "bad": field}),
    )
    schema = schema_of(of_task, PLAN)
    assert (str(schema.field("label").type), str(schema.field("score").type)) == (label, score)


def test_columns_have_the_type_of_their_field_and_an_entity_that_is_an_input_has_one():
    fields = {"shop": Text(), "price": Number(), "gift": Flag(), "due": Time(), "code": Text()}
    schema = schema_of(pipeline(**fields), PLAN)
    assert [(field.name, str(field.type)) for field in schema] == [
        ("id", "string"),
        ("event_timestamp", "timestamp[us, tz=UTC]"),
        ("shop", "string"),
        ("price", "double"),
        ("gift", "bool"),
        ("due", "timestamp[ms, tz=UTC]"),
        ("code", "string"),
        ("v__n", "int64"),
        ("label", "bool"),
        ("known_at", "timestamp[ms, tz=UTC]"),
        ("score", "double"),
        ("model", "string"),
    ]


def test_features_of_batch_views_and_transforms_have_columns_behind_those_of_the_views():
    staff = Lookup("staff", (Input("shop", "string"),), (Output("hands", "int"), Output("lead", "string")), 1)
    rate = Transform("rate", "m:rate", "0", (), ("v", "staff"), (Output("each", "float"),))
    schema = schema_of(pipeline(shop=Text()), replace(PLAN, lookups=(staff,), transforms=(rate,)))
    assert [(field.name, str(field.type)) for field in schema][3:7] == [
        ("v__n", "int64"),
        ("staff__hands", "int64"),
        ("staff__lead", "string"),
        ("rate__each", "double"),
    ]


def test_an_input_that_has_the_name_of_a_column_is_refused():
    with pytest.raises(ConfigError, match=r"two columns 'model'"):
        schema_of(pipeline(model=Text()), PLAN)


def test_of_equal_ids_the_later_or_the_first_value_stays(tmp_path):
    values = [("a", b"1"), ("b", b"2"), ("a", b"3")]
    for put, expected in ((ById.put, b"3"), (ById.put_new, b"1")):
        kept = ById(tmp_path / f"{put.__name__}.db")
        put(kept, values)
        put(kept, [("c", b"4")])
        assert kept.get(["a", "x", "c", "a"]) == [expected, None, b"4", expected]
        kept.close()
