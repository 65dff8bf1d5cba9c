"""On-demand feature views become transforms: the same function online, offline and in the flows."""

import importlib
import linecache
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from made_shops import YAML
from made_tills import FUNCTIONS, compiled, shops

from flows.adapters.feast.repo import open_store
from flows.core.features.batch import Question
from flows.core.features.plan import FeaturePlan, Input, Output
from flows.core.features.transforms import Transformer
from flows.errors import ConfigError
from flows.host.functions import load_function

__all__ = ["shops"]  # a fixture


def replace_function(repo: Path, result: str) -> None:
    (repo.parent / "shop_features.py").write_text(f"def priced(given):\n    return {result}\n")


def test_an_on_demand_view_is_a_transform_behind_the_views(shops):
    plan = compiled(shops)
    (transform,) = plan.transforms
    assert plan.names == ("sales__n", "sales__mean", "priced__above", "priced__hour")
    assert (transform.name, transform.function) == ("priced", "shop_features:priced")
    assert transform.fields == (Input("price", "number"), Input("at", "time"))
    assert transform.views == ("sales",)
    assert transform.outputs == (Output("above", "float"), Output("hour", "int"))
    assert FeaturePlan.from_json(plan.to_json()) == plan


def test_feast_s_online_answer_is_that_of_the_flows(shops):
    plan = compiled(shops)
    question = Question("1", 0, {"price": 7.5, "at": "2018-04-01T05:00:00Z"})
    vectors = [[0, None]]
    transformer = Transformer(plan, {t.name: load_function(t) for t in plan.transforms})
    assert transformer.extend([question], vectors) == {}
    store = open_store(shops, YAML)
    entity = {"shop_id": "s1", "price": 7.5, "at": datetime(2018, 4, 1, 5, tzinfo=UTC)}
    answer = store.get_online_features(store.get_feature_service("tills"), [entity]).to_dict()
    assert vectors == [[0, None, answer["above"][0], answer["hour"][0]]] == [[0, None, 7.5, 5]]


def test_a_changed_function_changes_the_plan_and_is_refused_until_it_is_applied(shops):
    import shop_features

    first = compiled(shops)
    (shops.parent / "shop_features.py").write_text(FUNCTIONS.replace("at.hour", "at.hour + 0 "))
    importlib.reload(shop_features)
    linecache.checkcache()
    with pytest.raises(ConfigError, match="is not what was applied; run `driftline apply`"):
        load_function(first.transforms[0])
    second = compiled(shops)
    assert second.hash != first.hash
    assert load_function(second.transforms[0]) is shop_features.priced


@pytest.mark.parametrize("module", ["shop_trap", "shop_package.trap"])
def test_a_module_is_not_imported_for_a_plan_that_does_not_fit_it(shops, module):
    (transform,) = compiled(shops).transforms
    trap = f"open({str(shops / 'sprung')!r}, 'w')\n\ndef priced(given):\n    return {{}}\n"
    (shops.parent / "shop_trap.py").write_text(trap)
    (shops.parent / "shop_package").mkdir()
    (shops.parent / "shop_package" / "__init__.py").write_text(trap)
    (shops.parent / "shop_package" / "trap.py").write_text(trap)
    with pytest.raises(ConfigError, match="is not what was applied; run `driftline apply`"):
        load_function(replace(transform, function=f"{module}:priced"))
    assert not (shops / "sprung").exists()
    assert module not in sys.modules
    with pytest.raises(ConfigError, match=r"cannot load 'math:sin' .*no source file"):
        load_function(replace(transform, function="math:sin"))


def test_a_function_that_is_gone_is_named(shops):
    (transform,) = compiled(shops).transforms
    with pytest.raises(
        ConfigError, match=r"'priced': cannot load 'shop_features:gone' .* run `driftline apply`"
    ):
        load_function(replace(transform, function="shop_features:gone"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('mode="python"', 'mode="pandas"', "is in mode 'pandas'; write it in mode='python'"),
        ('mode="python"', 'mode="python", singleton=True', "is a singleton; take and give lists"),
        (
            'mode="python"',
            'mode="python", entities=[shop], write_to_online_store=True',
            "writes to the online store; leave that out",
        ),
        (
            "features=[priced, sales]",
            "features=[priced]",
            "reads sales__mean, sales__n, which is not in the service",
        ),
        ("features=[priced, sales]", 'features=[priced, sales[["n"]]]', "reads sales__mean, which is not in"),
        ("features=[priced, sales]", 'features=[priced.with_name("p"), sales]', "is renamed or pinned"),
        ("dtype=UnixTimestamp", "dtype=Bytes", "field 'at' is Bytes; make it one of String, Int64"),
    ],
)
def test_what_the_engine_cannot_run_is_refused_with_advice(shops, old, new, said):
    # Feast tries the function out when it is applied, so it must suit the declaration
    if "pandas" in new:
        replace_function(shops, "given[['price']].rename(columns={'price': 'above'}).assign(hour=1)")
    elif "singleton" in new or "Bytes" in new:
        replace_function(shops, "{'above': given['price'], 'hour': [1]}")
    with pytest.raises(ConfigError, match=said):
        compiled(shops, (old, new))


def test_a_function_within_the_feature_repository_is_refused(shops):
    inline = 'udf=lambda given: {"above": given["price"], "hour": [1 for _ in given["price"]]}'
    with pytest.raises(ConfigError, match=r"'priced' cannot be .*give OnDemandFeatureView the udf="):
        compiled(shops, ("udf=shop_features.priced", inline))
