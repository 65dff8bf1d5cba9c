"""The work of the peers as a pipeline: ten numbers and a model that has learned already."""

import os
from datetime import timedelta

from model import NAMES, trained_model

from flows.core.stream.fields import Flag, Number, Text, Time
from flows.pipeline import Pipeline, Stream

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
    model=trained_model,
    partitions=int(os.environ.get("BENCH_PARTITIONS", "1")),
    label_wait=timedelta(days=365),
)
