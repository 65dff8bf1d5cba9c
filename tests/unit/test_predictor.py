"""The predictor: scores a batch with the models in service, which may change within it."""

from math import nan
from typing import Any

import orjson
import pytest

from flows.core.broker import Outgoing, Record
from flows.core.decode import Decoder
from flows.core.intake import Intake
from flows.core.models import Lineup, Model, ModelMessage
from flows.core.plan import Aggregate, FeaturePlan, View
from flows.core.predictions import PUBLISHED_AT, decode
from flows.core.predictor import Predictor
from flows.core.schema import Number, Text, Time
from flows.core.snapshots import Sealer
from flows.core.transforms import Transformer

NOW = 1_357_035_300_000
SEALER = Sealer(b"s" * 32, [__name__])
EVENTS = Decoder("id", "at", {"id": Text(), "at": Time(), "price": Number(required=False)})


class Constant:
    """A classifier that always gives the same probability."""

    def __init__(self, probability: Any) -> None:
        self.probability = probability

    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        assert list(features) == ["price", "v__count_1h", "v__mean_1h"]
        if self.probability is None:
            raise ValueError("it is broken")
        return {True: self.probability}


PLAN = FeaturePlan(
    "s",
    (
        View(
            "v",
            "shop",
            "sales",
            (Aggregate("count_1h", "count", "", 9, "int"), Aggregate("mean_1h", "mean", "price", 9)),
        ),
    ),
)


def model(version: str, probability: Any) -> Model:
    return Model(version, Constant(probability))


def predictor(champion: Model, failures: list[Exception] | None = None) -> Predictor:
    failed = [].append if failures is None else failures.append
    return Predictor("p", ("price",), PLAN, Transformer(PLAN, {}), Lineup(champion), SEALER, failed)


def event(event_id: str, offset: int = 0, **fields: Any) -> Record:
    value = orjson.dumps({"id": event_id, "at": NOW, **fields})
    headers = ((PUBLISHED_AT, b"17"), ("other", b"x"))
    return Record("events", 3, offset, NOW, event_id.encode(), value, headers)


def snapshot(role: Any, member: Model, sealer: Sealer = SEALER) -> Record:
    out = sealer.record("p.models", ModelMessage("p", role, NOW, member, {}), "an identity")
    return Record("p.models", 0, 9, NOW, out.key, out.value, out.headers)


def run(scoring: Predictor, *records: Record) -> list[Outgoing]:
    batch = Intake({"events": EVENTS}, "events", "p.models", "p.dead-letters", [], 1_000).take(records)
    return scoring.score(batch, [[2, 7.5] for _ in batch.records])


def served(out: list[Outgoing]) -> list[Any]:
    return [
        decode(Record(o.topic, 0, 0, 0, o.key, o.value, o.headers)) for o in out if o.topic == "p.predictions"
    ]


def reasons(out: list[Outgoing]) -> list[str]:
    return [dict(o.headers)["reason"].decode() for o in out if o.topic == "p.dead-letters"]


def test_a_question_is_answered_on_its_own_partition_with_what_was_served():
    (out,) = run(predictor(model("v1", 0.25)), event("a", price=9.5))
    (prediction,) = served([out])
    assert (out.topic, out.partition, out.timestamp) == ("p.predictions", 3, NOW)
    assert prediction == ("a", NOW, 0.25, "v1", {}, [9.5, 2, 7.5])
    assert orjson.loads(out.value)["plan"] == PLAN.hash


def test_an_input_that_the_event_leaves_out_is_served_as_null():
    (prediction,) = served(run(predictor(model("v1", 0.25)), event("a")))
    assert prediction.features == [None, 2, 7.5]


def test_a_prediction_carries_on_when_its_event_was_published_and_no_other_header():
    (out,) = run(predictor(model("v1", 0.25)), event("a"))
    assert out.headers == (("id", b"a"), (PUBLISHED_AT, b"17"))


def test_a_model_that_comes_in_the_batch_scores_the_questions_after_it():
    out = run(
        predictor(model("v1", 0.1)),
        event("a"),
        snapshot("challenger", model("v2", 0.2)),
        event("b"),
        snapshot("champion", model("v2", 0.3)),
        event("c"),
    )
    assert [(p.id, p.version, p.score, p.shadows) for p in served(out)] == [
        ("a", "v1", 0.1, {}),
        ("b", "v1", 0.1, {"v2": 0.2}),
        ("c", "v2", 0.3, {}),
    ]


def test_a_model_that_the_project_did_not_sign_becomes_a_dead_letter_and_changes_nothing():
    forged = snapshot("champion", model("v9", 0.9), Sealer(b"x" * 32))
    out = run(predictor(model("v1", 0.1)), forged, event("a"))
    assert reasons(out) == ["signature"]
    assert [p.version for p in served(out)] == ["v1"]
    assert out[0].value == forged.value


@pytest.mark.parametrize("probability", [None, nan])
def test_an_event_that_the_model_cannot_score_becomes_a_dead_letter_and_the_next_one_is_answered(probability):
    failures: list[Exception] = []
    out = run(
        predictor(model("v1", probability), failures),
        event("a", offset=5),
        snapshot("champion", model("v2", 0.4)),
        event("b"),
    )
    assert reasons(out) == ["model"]
    assert dict(out[0].headers)["offset"] == b"5"
    assert b"the model cannot score it" in dict(out[0].headers)["detail"]
    assert len(failures) == 1
    assert [p.id for p in served(out)] == ["b"]


@pytest.mark.parametrize("probability", [None, nan])
def test_a_challenger_that_cannot_score_does_not_keep_the_champion_from_answering(probability):
    failures: list[Exception] = []
    scoring = predictor(model("v1", 0.1), failures)
    out = run(scoring, snapshot("challenger", model("v2", probability)), event("a"))
    assert [(p.score, p.shadows) for p in served(out)] == [(0.1, {})]
    assert reasons(out) == []
    assert len(failures) == 1


def test_every_event_of_a_batch_gets_a_prediction_or_a_dead_letter():
    bad = Record("events", 3, 7, NOW, None, b"{", ())
    out = run(predictor(model("v1", 0.1)), event("a"), bad, event("a"), event("b"))
    assert [p.id for p in served(out)] == ["a", "b"]
    assert sorted(reasons(out)) == ["duplicate", "not-json"]
