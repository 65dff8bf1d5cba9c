"""The predictor: it scores a batch with the models in service, which may change within the batch."""

from dataclasses import replace
from math import nan
from typing import Any

import orjson
import pytest
from river import linear_model

from flows.core.features.intake import Intake
from flows.core.features.plan import Aggregate, FeaturePlan, Input, Output, Transform, View
from flows.core.features.transforms import Transformer
from flows.core.models.model import Lineup, Model, ModelMessage
from flows.core.models.snapshots import Sealer
from flows.core.serving.prediction_message import PUBLISHED_AT, decode
from flows.core.serving.predictor import Predictor
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.decode import Decoder
from flows.core.stream.fields import Number, Text, Time

NOW = 1_357_035_300_000
EVENTS = Decoder(
    "id",
    "at",
    {"id": Text(), "at": Time(), "price": Number(required=False), "shop": Text(required=False)},
)


class Constant:
    """A classifier that always gives the same probability."""

    def __init__(self, probability: Any) -> None:
        self.probability = probability

    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        assert list(features) == ["price", "v__count_1h", "v__mean_1h"]
        if self.probability is None:
            raise ValueError("it is broken")
        return {True: self.probability}


SEALER = Sealer(b"s" * 32, [Constant(0.5)])
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
    return Predictor("p", ("price",), PLAN, Transformer(PLAN, {}), Lineup(champion), SEALER, failed, "shop")


def event(event_id: str, offset: int = 0, **fields: Any) -> Record:
    value = orjson.dumps({"id": event_id, "at": NOW, **fields})
    headers = ((PUBLISHED_AT, b"17"), ("other", b"x"))
    return Record("events", 3, offset, NOW, event_id.encode(), value, headers)


def snapshot(
    role: Any,
    member: Model,
    sequence: int = 1,
    sealer: Sealer = SEALER,
    of: str = "p",
    share: float = 0.0,
) -> Record:
    out = sealer.record("p.models", ModelMessage(of, role, NOW, member, {}, sequence, share))
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


def test_a_prediction_says_what_the_model_in_service_had_learned():
    first, second = model("v1", 0.1), model("v1", 0.2)
    first.learned, second.learned = 40, 41
    out = run(predictor(first), event("a"), snapshot("champion", second), event("b"))
    assert [orjson.loads(each.value or b"")["learned"] for each in out] == [40, 41]


def test_an_input_that_the_event_leaves_out_is_served_as_null():
    (prediction,) = served(run(predictor(model("v1", 0.25)), event("a")))
    assert prediction.features == [None, 2, 7.5]


def test_a_prediction_carries_on_when_its_event_was_published_and_no_other_header():
    (out,) = run(predictor(model("v1", 0.25)), event("a"))
    assert out.headers == ((PUBLISHED_AT, b"17"),)


def test_a_model_that_comes_in_the_batch_scores_the_questions_after_it():
    out = run(
        predictor(model("v1", 0.1)),
        event("a"),
        snapshot("challenger", model("v2", 0.2)),
        event("b"),
        snapshot("champion", model("v2", 0.3), 2),
        event("c"),
    )
    assert [(p.id, p.version, p.score, p.shadows) for p in served(out)] == [
        ("a", "v1", 0.1, {}),
        ("b", "v1", 0.1, {"v2": 0.2}),
        ("c", "v2", 0.3, {}),
    ]


def test_a_model_that_the_project_did_not_sign_becomes_a_dead_letter_and_changes_nothing():
    forged = snapshot("champion", model("v9", 0.9), sealer=Sealer(b"x" * 32))
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


class Moody(Constant):
    """A classifier that fails for some prices."""

    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        if features["price"] in self.probability:
            raise ValueError("it is broken")
        return {True: features["price"] / 10}


def test_events_that_the_model_cannot_score_become_dead_letters_in_their_places():
    lineup = Lineup(Model("v1", Moody((0, 3, 4, 7))))
    lineup.apply("challenger", Model("v2", Moody((1, 3, 6))))
    failures: list[Exception] = []
    scoring = Predictor("p", ("price",), PLAN, Transformer(PLAN, {}), lineup, SEALER, failures.append, "shop")
    out = run(scoring, *(event(f"{price}", offset=price, price=price) for price in range(8)))
    assert [dict(o.headers).get("offset", o.key) for o in out] == [
        b"0",
        b"1",
        b"2",
        b"3",
        b"4",
        b"5",
        b"6",
        b"7",
    ]
    assert [(p.id, p.score, p.shadows) for p in served(out)] == [
        ("1", 0.1, {}),
        ("2", 0.2, {"v2": 0.2}),
        ("5", 0.5, {"v2": 0.5}),
        ("6", 0.6, {}),
    ]
    assert len(failures) == 6


def negated(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if "price" in columns and 3 in columns["price"]:
        raise ValueError("three")
    return {"minus": [-price for price in columns["price"]]}


def test_an_event_whose_transform_fails_is_a_dead_letter_in_its_place_and_is_not_scored():
    fields, outputs = (Input("price", "number"),), (Output("minus", "float"),)
    plan = replace(PLAN, transforms=(Transform("t", "m:f", "", fields, (), outputs),))
    lineup = Lineup(Model("v1", linear_model.LogisticRegression()))
    scoring = Predictor(
        "p", ("price",), plan, Transformer(plan, {"t": negated}), lineup, SEALER, [].append, "shop"
    )
    out = run(scoring, *(event(f"{price}", offset=price, price=price) for price in range(5)))
    assert [p.features[-1] for p in served(out)] == [0, -1, -2, -4]
    assert [o.topic for o in out].index("p.dead-letters") == 3
    assert reasons(out) == ["transform"]


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


def details(out: list[Outgoing]) -> list[str]:
    return [dict(o.headers)["detail"].decode() for o in out if o.topic == "p.dead-letters"]


def test_an_old_model_that_is_sent_again_is_refused_and_told_and_the_champion_stays():
    old, new = snapshot("champion", model("v1", 0.2), 7), snapshot("champion", model("v1", 0.3), 8)
    out = run(predictor(model("v1", 0.1)), old, new, old, event("a"))
    assert reasons(out) == ["stale"]
    assert details(out)[0].startswith("the sequence of a model message must be above 8, got 7")
    assert [p.score for p in served(out)] == [0.3]


def test_another_model_with_the_sequence_of_the_last_one_is_refused():
    one, other = snapshot("champion", model("v1", 0.2), 7), snapshot("champion", model("v1", 0.3), 7)
    out = run(predictor(model("v1", 0.1)), one, other, event("a"))
    assert reasons(out) == ["stale"]
    assert [p.score for p in served(out)] == [0.2]


def test_the_last_model_that_comes_once_more_changes_nothing_and_is_no_dead_letter():
    last = snapshot("champion", model("v1", 0.2), 7)
    out = run(predictor(model("v1", 0.1)), last, last, event("a"), last)
    assert reasons(out) == []
    assert [p.score for p in served(out)] == [0.2]


def test_a_model_of_another_pipeline_of_the_project_is_refused_and_told():
    out = run(predictor(model("v1", 0.1)), snapshot("champion", model("v2", 0.9), 7, of="q"), event("a"))
    assert reasons(out) == ["stale"]
    assert "must be of pipeline 'p' and task 'binary', got 'q'" in details(out)[0]
    assert [p.version for p in served(out)] == ["v1"]


def test_a_candidate_is_the_learners_to_take_and_scores_nothing():
    out = run(predictor(model("v1", 0.1)), snapshot("candidate", model("v2", 0.9), 7), event("a"))
    assert [(p.version, p.shadows) for p in served(out)] == [("v1", {})]
    assert reasons(out) == []


def test_a_challenger_that_is_retired_scores_no_more_and_is_not_unpickled():
    scoring = predictor(model("v1", 0.1))
    run(scoring, snapshot("challenger", model("v2", 0.4), 1))
    unreadable = Model("v2", object())  # of no class that the declaration knows
    out = run(scoring, snapshot("retired", unreadable, 2), event("a"))
    assert [(p.version, p.shadows) for p in served(out)] == [("v1", {})]
    assert reasons(out) == []


def test_all_challengers_and_the_former_champion_score_in_the_shadow():
    out = run(
        predictor(model("v1", 0.1)),
        snapshot("challenger", model("v2", 0.2), 1),
        snapshot("challenger", model("v3", 0.3), 2),
        event("a"),
        snapshot("champion", model("v2", 0.25), 3),
        snapshot("challenger", model("v1", 0.15), 4),
        event("b"),
        snapshot("champion", model("v1", 0.16), 5),
        snapshot("retired", model("v2", 0.25), 6),
        event("c"),
    )
    assert [(p.version, p.score, p.shadows) for p in served(out)] == [
        ("v1", 0.1, {"v2": 0.2, "v3": 0.3}),
        ("v2", 0.25, {"v3": 0.3, "v1": 0.15}),
        ("v1", 0.16, {"v3": 0.3}),
    ]


def test_a_rollback_is_a_new_version_with_an_old_state_and_an_older_message_does_not_undo_it():
    scoring = predictor(model("v1", 0.1))
    run(scoring, snapshot("champion", model("v2", 0.2), 1), snapshot("champion", model("v2", 0.3), 2))
    back, undone = snapshot("champion", model("v3", 0.1), 3), snapshot("champion", model("v2", 0.4), 2)
    out = run(
        scoring, back, event("a"), undone, event("b"), snapshot("champion", model("v3", 0.2), 4), event("c")
    )
    assert [(p.version, p.score) for p in served(out)] == [("v3", 0.1), ("v3", 0.1), ("v3", 0.2)]
    assert reasons(out) == ["stale"]


def test_a_canary_answers_for_its_share_of_the_entities_and_always_for_the_same_ones():
    scoring = predictor(model("v1", 0.1))
    canary = snapshot("challenger", model("v2", 0.2), 1, share=0.3)
    shops = [f"shop {number % 100}" for number in range(300)]
    asked = [event(str(number), shop=shop) for number, shop in enumerate(shops)]
    found = served(run(scoring, canary, snapshot("challenger", model("v3", 0.3), 2), *asked))
    answered = {shop: prediction.version for shop, prediction in zip(shops, found, strict=True)}
    assert [prediction.version for prediction in found] == [answered[shop] for shop in shops]
    assert 20 <= list(answered.values()).count("v2") <= 40
    assert {(p.version, p.score, *p.shadows.items()) for p in found} == {
        ("v1", 0.1, ("v2", 0.2), ("v3", 0.3)),
        ("v2", 0.2, ("v1", 0.1), ("v3", 0.3)),
    }


def test_events_without_the_key_and_those_that_a_canary_cannot_score_are_answered_by_the_champion():
    failures: list[Exception] = []
    scoring = predictor(model("v1", 0.1), failures)
    run(scoring, snapshot("challenger", model("v2", 0.2), 1, share=0.99))
    (keyless,) = served(run(scoring, event("a")))
    (answered,) = served(run(scoring, event("b", shop="x")))
    run(scoring, snapshot("challenger", model("v2", None), 2, share=0.99))
    (broken,) = served(run(scoring, event("c", shop="x")))
    assert [p.version for p in (keyless, answered, broken)] == ["v1", "v2", "v1"]
    assert [str(failure) for failure in failures] == ["it is broken"]


def test_a_canary_ends_with_a_message_without_a_share_and_with_a_new_champion():
    scoring = predictor(model("v1", 0.1))
    run(scoring, snapshot("challenger", model("v2", 0.2), 1, share=0.99))
    run(scoring, snapshot("challenger", model("v2", 0.2), 2))
    (shadow,) = served(run(scoring, event("a", shop="x")))
    run(scoring, snapshot("challenger", model("v2", 0.2), 3, share=0.99))
    run(scoring, snapshot("champion", model("v3", 0.3), 4))
    (replaced,) = served(run(scoring, event("b", shop="x")))
    assert [(p.version, p.shadows) for p in (shadow, replaced)] == [("v1", {"v2": 0.2}), ("v3", {"v2": 0.2})]


class Disk:
    """An artifact store that loses things."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> None:
        self.kept[name] = content

    def get(self, name: str, size: int) -> bytes | None:
        return self.kept.get(name)

    def names(self) -> list[str]:
        return list(self.kept)


def test_a_large_model_whose_artifact_is_missing_is_a_dead_letter_and_the_champion_keeps_serving():
    disk = Disk()
    storing = Sealer(b"s" * 32, [Constant(0.5)], disk)

    def large(probability: float, sequence: int) -> Record:
        member = model("v1", probability)
        member.estimator.ballast = bytes(2_000_000)
        return snapshot("champion", member, sequence, storing)

    lineup = Lineup(model("v1", 0.1))
    scoring = Predictor("p", ("price",), PLAN, Transformer(PLAN, {}), lineup, storing, pytest.fail, "shop")
    first = run(scoring, large(0.2, 1), event("a"))
    lost = large(0.3, 2)
    disk.kept.popitem()
    second = run(scoring, lost, event("b"))
    superseded = large(0.4, 3)
    name = disk.names()[-1]
    third = run(scoring, superseded, large(0.5, 4), event("c"))
    del disk.kept[name]
    late = predictor(model("v1", 0.1))
    late._sealer = storing
    fourth = run(late, superseded, event("d"))
    assert [p.score for out in (first, second, third, fourth) for p in served(out)] == [0.2, 0.2, 0.5, 0.1]
    assert [reasons(out) for out in (first, second, third, fourth)] == [[], ["signature"], [], []]
    assert "is not in the artifact store" in details(second)[0]


def test_a_repaired_artifact_is_taken_when_its_message_is_sent_again():
    disk = Disk()
    storing = Sealer(b"s" * 32, [Constant(0.5)], disk)
    member = model("v1", 0.3)
    member.estimator.ballast = bytes(2_000_000)
    record = snapshot("champion", member, 2, storing)
    kept, disk.kept = disk.kept, {}
    lineup = Lineup(model("v1", 0.1))
    scoring = Predictor("p", ("price",), PLAN, Transformer(PLAN, {}), lineup, storing, pytest.fail, "shop")
    assert reasons(run(scoring, record)) == ["signature"]
    disk.kept = kept
    assert [p.score for p in served(run(scoring, record, event("a")))] == [0.3]
