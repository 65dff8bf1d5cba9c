"""The work of the peers as a pipeline: ten numbers, a scaler and a logistic regression."""

from datetime import timedelta

from river import linear_model, preprocessing

from flows.core.stream.fields import Flag, Number, Text, Time
from flows.pipeline import Pipeline, Stream

NAMES = tuple(f"f{number}" for number in range(10))

pipeline = Pipeline(
    name="ten_numbers",
    events=Stream(
        "bench_events",
        id="id",
        time="ts",
        fields={"id": Text(), "ts": Time(), "user": Text(), **dict.fromkeys(NAMES, Number(-100, 100))},
    ),
    labels=Stream("bench_labels", id="id", time="ts", fields={"id": Text(), "ts": Time(), "y": Flag()}),
    target="y",
    entities=(),
    service="ten_numbers",
    inputs=NAMES,
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    label_wait=timedelta(days=365),
)
