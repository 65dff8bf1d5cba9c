"""Whatever numbers the events have, every reader and store accepts the engine's output."""

from typing import Any

import orjson
import pyarrow as pa
import pytest
from answered import encode as encode_prediction
from feast.infra.online_stores.helpers import extract_text_and_num
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.adapters.feast import offline as feast_offline
from flows.adapters.feast.tables import feast_table, sqlite_table
from flows.core.features.batch import EntityKey
from flows.core.features.entity import EntityFeatures
from flows.core.features.feature_rows import RowDecoder, encode
from flows.core.features.plan import Aggregate, FeaturePlan, View
from flows.core.models.model import Prediction
from flows.core.serving import prediction_message as predictions
from flows.core.serving.prediction_message import Asked
from flows.core.serving.served_rows import AnswerDecoder
from flows.core.stream.broker import Record
from flows.core.stream.decode import Decoder
from flows.core.stream.fields import Flag, Number, Text, Time
from flows.host.arrow import TYPES, Fit, column

NOON = 1_357_041_600_000
HOUR = 3_600_000
FIELDS = {"id": Text(), "at": Time(), "n": Number(), "flag": Flag(), "word": Text()}
OF_NUMBERS = ("sum", "mean", "min", "max", "std", "var", "first", "last", "count_distinct", "p50")


def aggregates(functions: tuple[str, ...], column: str) -> list[Aggregate]:
    return [
        Aggregate(f"{f}_{column}", f, column, HOUR, "int" if f == "count_distinct" else "float")
        for f in functions
    ]


ALONE = ("first", "last", "count_distinct")  # a view with nothing else keeps the values as they are
VIEWS = [
    View(f"{name}_{slide}", "user", "pays", tuple(members), slide=slide)
    for slide in (0, 60_000)
    for name, members in {
        "all": [
            *aggregates(OF_NUMBERS, "n"),
            *aggregates(OF_NUMBERS, "flag"),
            Aggregate("word", "last", "word", HOUR, "string"),
            Aggregate("count", "count", "", HOUR, "int"),
            Aggregate("since", "time_since_last", "", HOUR),
        ],
        "alone": [*aggregates(ALONE, "n"), *aggregates(ALONE, "flag")],
    }.items()
]

numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from(
        [2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**64 - 1, -0.0, 5e-324, 1e150, -1e150, 0, True]
    )
    | st.floats(-1e150, 1e150)
)
payloads = st.lists(st.fixed_dictionaries({"n": numbers, "flag": st.booleans()}), min_size=1, max_size=6)


def accepted(raw: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The payloads as the engine decodes them; true is no number."""
    decoder = Decoder("id", "at", FIELDS)
    found = []
    for number, fields in enumerate(raw):
        if fields["n"] is not True:
            body = {"id": str(number), "at": NOON + number, "word": "w", **fields}
            found.append(dict(decoder.decode(record(orjson.dumps(body))).payload))
    return found


def record(value: bytes | None) -> Record:
    return Record("pays", 0, 0, NOON, None, value, ())


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
@settings(max_examples=60, deadline=None)
@given(raw=payloads)
def test_feature_rows_of_any_numbers_are_read_back_and_stored(view: View, raw: list[dict[str, Any]]) -> None:
    features = EntityFeatures(EntityKey("user", "u"), [view], HOUR)
    steps = [
        (0, p["at"], p["id"], tuple(p[c] for c in view.columns), number)
        for number, p in enumerate(accepted(raw))
    ]
    part = features.run(steps)
    for out in encode("features", part.rows):
        rows, faults = RowDecoder([view]).decode(record(out.value)._replace(key=out.key))
        assert faults == []
        assert [row.values for row in rows] == [row.values for row in part.rows]
        for row in rows:
            table = feast_offline._table(feast_offline._schema(view), {(row.key, row.time): row.values}, 0)
            assert table.num_rows == 1
            for aggregate, value in zip(view.aggregates, row.values, strict=True):
                message = feast_table._MAKERS[aggregate.dtype](value)
                text, _ = extract_text_and_num(message, compute_num=False)
                expected = message.SerializeToString(), text
                assert sqlite_table._MAKERS[aggregate.dtype](value) == expected
    plan = FeaturePlan("s", (view,))
    for number, vector in part.answers:
        served = [accepted(raw)[number]["n"], *vector]
        prediction = Prediction(str(number), NOON, 0.5, "v1", {}, served)
        out = encode_prediction("p", 0, prediction, plan.hash, Asked(("u",), (0,), NOON * 1000))
        (answer,) = AnswerDecoder(plan, 1).decode([record(out.value)])
        assert answer.faults == ()
        read = predictions.decode(record(out.value)).features
        types = [pa.float64(), *[TYPES[dtype] for dtype in plan.dtypes]]
        assert Fit(types)(read)
        columns = [column([value], dtype).to_pylist() for value, dtype in zip(read, types, strict=True)]
        assert columns == [[value] for value in served]
