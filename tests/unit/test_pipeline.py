"""The declaration that a user writes."""

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest
from river import linear_model

from flows.core.schema import Flag, Text, Time
from flows.errors import ConfigError
from flows.pipeline import OUTPUTS, DriftPolicy, Pipeline, Stream

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
        (None, "declares no data set; publish a file instead"),
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
        ({"options": {"delta": 0.1}}, "ADWIN takes its significance as `delta`"),
        ({"period": timedelta(0)}, "must be whole hours, and is 0:00:00"),
        ({"period": timedelta(minutes=90)}, "must be whole hours, and is 1:30:00"),
    ],
)
def test_a_drift_policy_that_cannot_be_is_refused_where_it_is_declared(declared, said):
    with pytest.raises(ConfigError) as error:
        DriftPolicy(**declared)
    assert said in str(error.value)


@pytest.mark.parametrize(("period", "milliseconds"), [(None, None), (timedelta(days=1), 86_400_000)])
def test_features_and_data_quality_go_by_the_declared_period_and_cool_down(period, milliseconds):
    policy = DriftPolicy(period=period, cool_down=timedelta(seconds=7))
    for figures in (policy.features(), policy.quality()):
        assert (figures.period, figures.cool_down) == (milliseconds, 7000)
