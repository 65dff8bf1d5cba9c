"""A pipeline over five numbers of the event, with a linear model and no features of Feast."""

from datetime import timedelta
from pathlib import Path
from random import Random

import orjson
from harness import Project
from made_flights import HOUR, MINUTE, NOON
from river import linear_model, preprocessing

from flows import Flag, Number, Pipeline, RetrainPolicy, Stream, Text, Time, iso
from flows.core.features.plan import FeaturePlan
from flows.core.stream.broker import Outgoing
from flows.runtime.state import PipelineState

NAMES = tuple(f"x{number}" for number in range(5))

pipeline = Pipeline(
    name="numbers",
    events=Stream(
        "points",
        id="id",
        time="at",
        fields={"id": Text(), "at": Time(), **dict.fromkeys(NAMES, Number(-1e9, 1e9))},
    ),
    labels=Stream("point_labels", id="id", time="at", fields={"id": Text(), "at": Time(), "hit": Flag()}),
    target="hit",
    entities=(),
    service="numbers",
    inputs=NAMES,
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    label_wait=timedelta(days=1),
    retrain=RetrainPolicy(block=5, approval=True),
)


def project_in(directory: Path) -> Project:
    """Return a project in a new directory, as after `driftline apply`."""
    (directory / "feature_repo").mkdir(parents=True)
    (directory / "driftline.toml").write_text('pipelines = ["made_numbers"]\n')
    PipelineState(directory / ".driftline", pipeline.name).keep_plan(FeaturePlan("numbers", ()))
    project = Project(directory)
    project.make_topics()
    return project


def points(number: int) -> list[Outgoing]:
    """Return a point a minute and its label an hour later, in event-time order."""
    random = Random(11)
    records = []
    for each in range(number):
        time = NOON + each * MINUTE
        row = dict(zip(NAMES, [random.gauss(place, 10.0**place) for place in range(5)], strict=True))
        body = {"id": f"P{each}", "at": iso(time), **row}
        label = {"id": f"P{each}", "at": iso(time + HOUR), "hit": row["x1"] > 1}
        records.append(Outgoing("points", orjson.dumps(body), f"P{each}".encode(), timestamp=time))
        records.append(
            Outgoing("point_labels", orjson.dumps(label), f"P{each}".encode(), timestamp=time + HOUR)
        )
    return sorted(records, key=lambda record: record.timestamp or 0)
