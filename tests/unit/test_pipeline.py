"""The declaration that a user writes."""

import math
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest
from river import anomaly, linear_model, metrics

from flows.core.evaluation.costs import Costs
from flows.core.evaluation.label_join import Joined, Label, Pending
from flows.core.learning.policy import ContestPolicy
from flows.core.models.model import Prediction
from flows.core.stream.broker import Record
from flows.core.stream.fields import Flag, Text, Time
from flows.errors import ConfigError
from flows.pipeline import OUTPUTS, Pipeline, Stream
from flows.policies import DriftPolicy, RetrainPolicy

FIELDS = {"id": Text(), "at": Time()}
SHOP = Pipeline(
    name="fraud",
    events=Stream("sales", "id", "at", FIELDS),
    labels=Stream("chargebacks", "id", "at", {**FIELDS, "fraud": Flag()}),
    target="fraud",
    entities=("customer",),
    service="shop",
    model=linear_model.LogisticRegression,
)


def sales(events: int | None) -> tuple[str, int | None]:
    return "sales", events


def test_the_topics_and_groups_of_a_pipeline_bear_its_name():
    assert [SHOP.topic(kind) for kind in OUTPUTS] == [
        "fraud.predictions",
        "fraud.features",
        "fraud.models",
        "fraud.metrics",
        "fraud.drift",
        "fraud.learned",
        "fraud.registry",
        "fraud.commands",
        "fraud.dead-letters",
    ]
    assert SHOP.group("learn") == "driftline.fraud.learn"


def test_a_declaration_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        SHOP.name = "other"


def test_the_default_metrics_are_made_anew_each_time():
    first, second = SHOP.evaluation().values(), SHOP.evaluation().values()
    assert list(first["model"]) == ["ROCAUC", "LogLoss"]
    assert first == second


def test_the_data_set_is_what_the_named_function_gives_for_the_events_asked_for():
    declared = replace(SHOP, dataset=f"{__name__}:sales")
    assert declared.load_dataset() == ("sales", None)
    assert declared.load_dataset(7) == ("sales", 7)


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (None, "has no data set; publish a file instead"),
        ("no_such_module:sales", "'no_such_module:sales': No module named 'no_such_module'"),
        (f"{__name__}:nothing", "has no attribute 'nothing'"),
        (__name__, "has no attribute ''"),
        (":sales", "':sales'"),
    ],
)
def test_a_data_set_that_cannot_be_found_is_told_in_one_line(dataset, said):
    with pytest.raises(ConfigError) as error:
        replace(SHOP, dataset=dataset).load_dataset()
    assert said in str(error.value)
    assert "'fraud'" in str(error.value)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"detector": "cusum"}, "no drift detector 'cusum'"),
        ({"detector": "ddm", "options": {"alpha": 1}}, "drift detector 'ddm': "),
        ({"options": {"delta": 0.1}}, "`options` must be empty for ADWIN"),
        ({"period": timedelta(0)}, "must be whole hours above 0, got 0:00:00"),
        ({"period": timedelta(minutes=90)}, "must be whole hours above 0, got 1:30:00"),
    ],
)
def test_a_drift_policy_that_cannot_be_is_refused_where_it_is_declared(declared, said):
    with pytest.raises(ConfigError) as error:
        DriftPolicy(**declared)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"challengers": 0}, "`challengers` must be a whole number of at least 1, got 0"),
        ({"minimum_effect": -0.1}, "`minimum_effect` must be a number of at least 0.0, got -0.1"),
        ({"minimum_effect": math.inf}, "`minimum_effect` must be a number of at least 0.0, got inf"),
        ({"approval": 1}, "`approval` must be True or False, got 1"),
        ({"canary": 1.0}, "`canary` must be a number of at least 0 and below 1, got 1.0"),
        ({"canary_labels": 0}, "`canary_labels` must be a whole number of at least 1, got 0"),
        (
            {"minimum_labels_compared": 300, "patience": 200, "block": 10},
            "`minimum_labels_compared` must be at most `patience` (200), got 300; no challenger could be",
        ),
        (
            {"probation": 499},
            "`probation` must be 0 or at least 500 labels (10 blocks and `minimum_labels_compared`), got",
        ),
        ({"probation": 5500, "minimum_labels_compared": 6000}, "must be 0 or at least 6,000 labels"),
    ],
)
def test_a_retrain_policy_that_cannot_be_is_refused_where_it_is_declared(declared, said):
    with pytest.raises(ConfigError) as error:
        RetrainPolicy(**declared)
    assert said in str(error.value)


def test_contests_follow_the_declared_policy():
    declared = RetrainPolicy(
        challengers=5,
        significance=0.02,
        patience=900,
        block=9,
        minimum_labels_compared=91,
        minimum_effect=0.01,
        probation=92,
        approval=True,
        canary=0.1,
        canary_labels=93,
        trial=94,
    )
    assert declared.contests() == ContestPolicy(
        significance=0.02,
        patience=900,
        block=9,
        challengers=5,
        minimum_labels=91,
        minimum_effect=0.01,
        probation=92,
        approval=True,
        canary=0.1,
        canary_labels=93,
        trial=94,
    )


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"task": "ranking"}, "must be one of binary, multiclass, regression, anomaly, got 'ranking'"),
        ({"target": "stolen"}, "'stolen' is not a field of topic 'chargebacks'; declare it there as Flag()"),
        ({"task": "regression"}, "the target 'fraud' of topic 'chargebacks' must be a required Number()"),
        ({"task": "multiclass"}, "must be a required Text() for task 'multiclass', got Flag()"),
        (
            {"labels": Stream("chargebacks", "id", "at", {**FIELDS, "fraud": Flag(required=False)})},
            "got Flag(required=False)",
        ),
    ],
)
def test_a_target_that_the_task_cannot_learn_is_refused_where_it_is_declared(declared, said):
    with pytest.raises(ConfigError) as error:
        replace(SHOP, **declared)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"slices": ("country",)}, "the slice 'country' must be one of `inputs` and a Text, a Key or a"),
        ({"inputs": ("at",), "slices": ("at",)}, "the slice 'at' must be"),
        ({"costs": Costs(1, 0)}, "`costs` must be numbers above 0, for a binary task"),
        ({"costs": Costs(1, 4), "task": "anomaly"}, "`costs` must be numbers above 0, for a binary task"),
    ],
)
def test_slices_and_costs_that_cannot_be_are_refused_where_they_are_declared(declared, said):
    with pytest.raises(ConfigError) as error:
        replace(SHOP, **declared)
    assert said in str(error.value)


def test_slices_and_costs_are_judged_as_declared():
    declared = replace(SHOP, inputs=("at", "id"), slices=("id",), costs=Costs(1, 4)).evaluation()
    pending = Pending(Prediction("a", 0, 0.3, "v1", {}, [0, "a"]), 0.5, 0.0)
    record = Record("chargebacks", 0, 0, 0, None, b"", ())
    declared.update(Joined(pending, Label("a", 0, True, record)))
    assessment = declared.assessment()
    assert [group["value"] for group in assessment["slices"]["id"]["groups"]] == ["a"]
    assert assessment["costs"]["half"] == {"threshold": 0.5, "cost": 4.0}


def test_a_model_is_made_for_the_task_and_refused_if_it_does_not_fit():
    model = replace(
        SHOP, task="anomaly", model=lambda: anomaly.QuantileFilter(anomaly.LODA(), q=0.9)
    ).new_model()
    assert (model.version, model.learned, model.task.name) == ("v1", 0, "anomaly")
    with pytest.raises(ConfigError, match=r"pipeline 'fraud': the model: .*it fits task='regression'"):
        replace(SHOP, model=linear_model.LinearRegression).new_model()


def test_the_metrics_are_those_declared_or_those_of_the_task():
    declared = replace(SHOP, metrics=metrics.MCC)
    assert list(declared.evaluation().values()["model"]) == ["MCC"]
    assert list(replace(SHOP, task="anomaly").evaluation().values()["model"]) == ["Precision", "Recall", "F1"]


@pytest.mark.parametrize(("period", "milliseconds"), [(None, None), (timedelta(days=1), 86_400_000)])
def test_features_and_data_quality_go_by_the_declared_period_and_cool_down(period, milliseconds):
    policy = DriftPolicy(period=period, cool_down=timedelta(seconds=7))
    for figures in (policy.features(), policy.quality()):
        assert (figures.period, figures.cool_down) == (milliseconds, 7000)


def test_that_no_prediction_may_wait_is_refused():
    with pytest.raises(
        ConfigError, match="'fraud': `max_pending` must be a whole number of at least 1, got 0"
    ):
        replace(SHOP, max_pending=0)
