"""A project with common formats of data: integer keys and ids, labels 0 and 1, epoch times."""

from pathlib import Path
from random import Random

import orjson
from harness import Project
from made_shops import SHIPPED, YAML

from flows.core.stream.broker import Outgoing

START = 1_700_000_000_000  # 2023-11-14T22:13:20Z
MINUTE = 60_000
LARGE = 2**53 + 1  # a key that no float holds

PIPELINE = """
from datetime import timedelta

from flows.core.stream.fields import Flag, Key, Number, Text, Time
from flows.pipeline import Pipeline, Stream
from river import linear_model, preprocessing, compose


def numbers(x):
    names = ("machine_readings__heat", "machine_readings__n")
    return {name: 0.0 if x[name] is None else x[name] for name in names}


def model():
    scaled = compose.FuncTransformer(numbers) | preprocessing.StandardScaler()
    return scaled | linear_model.LogisticRegression()


pipeline = Pipeline(
    name="failures",
    events=Stream(
        "checks",
        "check",
        "at",
        {
            "check": Key(),
            "at": Time(unit="s"),
            "machine": Key(required=False),
            "site": Key(),
            "due": Time(unit="us", required=False),
            "is_manual": Flag(true="yes", false="no"),
        },
    ),
    sources=(
        Stream(
            "readings",
            "reading",
            "at",
            {
                "reading": Key(),
                "at": Time(unit="ns"),
                "machine": Key(),
                "sensor": Key(kind="integer"),
                "heat": Number(),
                "is_alert": Flag(true=1, false=0),
            },
        ),
    ),
    labels=Stream(
        "outcomes",
        "check",
        "known",
        {"check": Key(), "known": Time(unit="s"), "failed": Flag(true=1, false=0)},
    ),
    target="failed",
    entities=("machine", "site"),
    service="failures",
    model=model,
    inputs=("is_manual", "machine", "due"),
    slices=("is_manual",),
    label_wait=timedelta(days=1),
)
"""

FUNCTION = '''
def urgency(given):
    """How many minutes there are from the check to when it is due."""
    return {"minutes": list(map(minutes, given["at"], given["due"]))}


def minutes(at, due):
    return None if due is None or due != due else (due - at).total_seconds() / 60
'''

FEATURES = """
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, Field, FileSource, KafkaSource, RequestSource
from feast import OnDemandFeatureView, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Float64, Int64, UnixTimestamp

from machine_functions import urgency

HISTORY = Path(__file__).resolve().parent.parent / ".driftline" / "offline"
DAY = timedelta(days=1)
machine = Entity(name="machine", join_keys=["machine"], value_type=ValueType.INT64)
site = Entity(name="site", join_keys=["site"], value_type=ValueType.STRING)


def stream(name, topic, view):
    return KafkaSource(
        name=name,
        topic=topic,
        timestamp_field="at",
        kafka_bootstrap_servers="localhost:9092",
        message_format=JsonFormat("at timestamp"),
        batch_source=FileSource(
            name=f"{view}_history",
            path=f"{HISTORY / view}/**/*.parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    )


readings = StreamFeatureView(
    name="machine_readings",
    entities=[machine],
    source=stream("readings", "readings", "machine_readings"),
    timestamp_field="at",
    schema=[
        Field(name="n", dtype=Int64),
        Field(name="heat", dtype=Float64),
        Field(name="alerts", dtype=Float64),
        Field(name="sensors", dtype=Int64),
    ],
    aggregations=[
        Aggregation(name="n", function="count", time_window=DAY),
        Aggregation(name="heat", function="mean", column="heat", time_window=DAY),
        Aggregation(name="alerts", function="sum", column="is_alert", time_window=DAY),
        Aggregation(name="sensors", function="count_distinct", column="sensor", time_window=DAY),
    ],
)
checks = StreamFeatureView(
    name="site_checks",
    entities=[site],
    source=stream("checks", "checks", "site_checks"),
    timestamp_field="at",
    schema=[Field(name="n", dtype=Int64)],
    aggregations=[Aggregation(name="n", function="count", time_window=timedelta(hours=1))],
    tags={"driftline.exclude_own": "true"},
)
request = RequestSource(
    name="request", schema=[Field(name="at", dtype=UnixTimestamp), Field(name="due", dtype=UnixTimestamp)]
)
due = OnDemandFeatureView(
    name="due",
    sources=[request],
    schema=[Field(name="minutes", dtype=Float64)],
    udf=urgency,
    mode="python",
)
failures = FeatureService(name="failures", features=[readings, checks, due])
"""


def machines(directory: Path) -> Project:
    """Create the project; it is not applied yet."""
    repo = directory / "feature_repo"
    repo.mkdir(parents=True)
    (repo / YAML).write_text((SHIPPED / YAML).read_text())
    (repo / "machine_features.py").write_text(FEATURES)
    (directory / "machine_pipeline.py").write_text(PIPELINE)
    (directory / "machine_functions.py").write_text(FUNCTION)
    (directory / "driftline.toml").write_text('pipelines = ["machine_pipeline"]\n')
    return Project(directory)


def _record(topic: str, time: int, payload: dict[str, object]) -> Outgoing:
    key = str(next(iter(payload.values()))).encode()
    return Outgoing(topic, orjson.dumps(payload), key, timestamp=time)


def check(number: int, time: int, machine: object, site: object = "1", **other: object) -> Outgoing:
    """Return an event; the key of the machine may have a wrong type."""
    due = (time + 90 * MINUTE) * 1000 if number % 10 else None
    payload = {"check": number, "at": time / 1000, "machine": machine, "site": site, "due": due}
    payload |= {"is_manual": "yes" if number % 3 else "no", **other}
    return _record("checks", time, payload)


def reading(number: int, time: int, machine: object, **other: object) -> Outgoing:
    """Return a record of the source."""
    payload = {"reading": number, "at": time * 10**6, "machine": machine, "sensor": LARGE + number % 2}
    payload |= {"heat": number % 17 + 0.5, "is_alert": number % 2, **other}
    return _record("readings", time, payload)


def outcome(number: int, time: int, failed: object) -> Outgoing:
    """Return a label."""
    return _record("outcomes", time, {"check": number, "known": time // 1000, "failed": failed})


def traffic(checks: int) -> list[Outgoing]:
    """Return a check a minute, each with a reading before it and an outcome an hour later."""
    random, out = Random(3), []
    for number in range(checks):
        time, machine = START + number * MINUTE, random.choice([1, -7, LARGE, LARGE + 1, None])
        site = random.choice(["1", "2"])
        if machine is not None:
            out.append(reading(number, time - 1000, machine))
        out.append(check(number, time, machine, site))
        out.append(outcome(number, time + 60 * MINUTE, number % 2))
    return sorted(out, key=lambda record: record.timestamp or 0)
