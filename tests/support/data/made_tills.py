"""A feature repository of shops with an on-demand view and a stream view."""

import sys
from functools import partial

import pytest
from made_shops import SHOPS, repository
from made_shops import compiled as compiled_service

FUNCTIONS = """
def priced(given):
    means = [0.0 if mean is None else mean for mean in given["sales__mean"]]
    return {
        "above": [price - mean for price, mean in zip(given["price"], means)],
        "hour": [at.hour for at in given["at"]],
    }
"""
VIEWS = """
from feast import OnDemandFeatureView, RequestSource
from feast.types import Bool, Bytes, UnixTimestamp

import shop_features

asked = RequestSource(
    name="asked", schema=[Field(name="price", dtype=Float64), Field(name="at", dtype=UnixTimestamp)]
)
priced = OnDemandFeatureView(
    name="priced",
    sources=[asked, sales],
    schema=[Field(name="above", dtype=Float64), Field(name="hour", dtype=Int64)],
    udf=shop_features.priced,
    mode="python",
)
tills = FeatureService(name="tills", features=[priced, sales])
"""
compiled = partial(compiled_service, service="tills")


@pytest.fixture
def shops(tmp_path, monkeypatch):
    """Create a Feast repository with an on-demand view, whose function is in another module."""
    repo = repository(tmp_path / "shops", SHOPS + VIEWS)
    (repo.parent / "shop_features.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(repo.parent)
    yield repo
    sys.modules.pop("shop_features", None)
