"""The lineage and the facts of a made-up model version."""

from typing import Any

import orjson

from flows.core.evaluation.evaluation import Evaluation
from flows.core.evaluation.label_join import Joined, Label
from flows.core.evaluation.pending_block import Pending
from flows.core.exporting.facts import ModelFacts, ModelFeature
from flows.core.lineage import CodeVersion, DataRange, Lineage, OffsetRange, SnapshotDigest
from flows.core.models.model import Prediction
from flows.core.models.tasks import BINARY
from flows.core.stream.broker import Record

CREATED = 1_357_041_600_000  # 2013-01-01T12:00:00Z
LINEAGE = Lineage(
    pipeline="flight_delays",
    version="v3",
    parent="v1",
    cause="concept drift drift_17",
    created=CREATED,
    labels=4000,
    code=CodeVersion("0123456789abcdef0123456789abcdef01234567", clean=True),
    plan="a1b2c3d4e5f6",
    parameters={"StandardScaler": {"with_std": True}, "LogisticRegression": {"l2": 0.0}},
    libraries={"driftline": "0.2.0", "river": "0.26.1", "numpy": "2.4.0", "python": "3.11.7"},
    data=DataRange(
        CREATED - 86_400_000,
        CREATED,
        (OffsetRange("flight_delays.predictions", 0, 0, 500), OffsetRange("flight_labels", 0, 10, 410)),
    ),
    metrics={"model": {"ROCAUC": 0.75}, "majority": {"ROCAUC": 0.5}, "no-change": {"ROCAUC": None}},
    snapshot=SnapshotDigest.of(b"a pickle"),
)


def assessed(labels: int) -> dict[str, Any]:
    """Return the assessment of a model that is right for JFK and wrong for half of EWR."""
    evaluation = Evaluation(BINARY.metrics, BINARY, {"origin": 0})
    for number in range(labels):
        origin = "EWR" if number % 2 else "JFK"
        truth = number % 3 == 0
        score = 0.85 if truth else 0.15
        if origin == "EWR" and number % 4 == 1:
            score = 1 - score
        prediction = Prediction(f"F{number}", CREATED + number, score, "v3", {}, [origin])
        label = Label(prediction.id, prediction.time, truth, Record("labels", 0, number, 0, None, None, ()))
        evaluation.update(Joined(Pending(prediction, 0.3, 0.0), label))
    body = {
        "time": "2013-01-01T12:00:00.000Z",
        "model": "v3",
        "labels": labels,
        "expired": 7,
        "assumed": 0,
        "metrics": evaluation.values(),
        "assessment": evaluation.assessment(),
    }
    made: dict[str, Any] = orjson.loads(orjson.dumps(body))  # as it is on the topic, where NaN is null
    return made


def facts(**changes: Any) -> ModelFacts:
    """Return the facts of a champion that never served; `changes` replace some."""
    made = ModelFacts(
        lineage=LINEAGE,
        role="champion",
        purpose="Will a flight be late?",
        task="binary",
        target="late",
        features=(
            ModelFeature("carrier", "text", "the event, topic flights"),
            ModelFeature("origin__count_1h", "int", "view origin of topic departures"),
        ),
        label_wait=3 * 86_400_000,
        measured=None,
        signals=(),
    )
    return made._replace(**changes)
