"""Plain Feast feature views become lookups; unsupported ones are refused with advice."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
from harness import Project
from made_shops import SHOPS, repository
from made_shops import compiled as compiled_service

from flows.core.features.plan import FeaturePlan, Input, Lookup, Output
from flows.core.stream.fields import Number, Text
from flows.errors import ConfigError
from flows.runtime.validation import check_plan

VIEWS = """
from feast.types import Bool, Int32

weekday = Entity(name="weekday", join_keys=["day"], value_type=ValueType.INT64)
table = FileSource(name="table", path="/nowhere/openings.parquet", timestamp_field="event_timestamp")
openings = FeatureView(
    name="openings",
    entities=[shop, weekday],
    ttl=timedelta(days=2),
    source=table,
    schema=[
        Field(name="hours", dtype=Float64),
        Field(name="staff", dtype=Int64),
        Field(name="day", dtype=Int64),
        Field(name="manager", dtype=String),
    ],
)
tills = FeatureService(name="tills", features=[openings, sales])
"""
TRANSFORM = """
from feast import OnDemandFeatureView
import opening_features

rates = OnDemandFeatureView(
    name="rates",
    sources=[openings, sales],
    schema=[Field(name="rate", dtype=Float64)],
    udf=opening_features.rates,
    mode="python",
)
rated = FeatureService(name="rated", features=[rates, sales, openings])
"""

compiled = partial(compiled_service, service="tills")


@pytest.fixture
def shops(tmp_path):
    return repository(tmp_path / "shops", SHOPS + VIEWS)


def test_a_batch_view_is_a_lookup_behind_the_views_on_streams(shops):
    plan = compiled(shops)
    assert plan.names == (
        "sales__n",
        "sales__mean",
        "openings__hours",
        "openings__staff",
        "openings__manager",
    )
    keys = (Input("day", "number"), Input("shop_id", "string"))
    features = (Output("hours", "float"), Output("staff", "int"), Output("manager", "string"))
    assert plan.lookups == (Lookup("openings", keys, features, 2 * 24 * 3_600_000),)
    assert FeaturePlan.from_json(plan.to_json()) == plan


def test_a_service_may_take_some_features_of_a_batch_view(shops):
    plan = compiled(shops, ("features=[openings, sales]", 'features=[openings[["staff"]]]'))
    assert plan.names == ("openings__staff",)


def test_a_transform_gets_the_features_of_a_batch_view(shops, monkeypatch):
    (shops.parent / "opening_features.py").write_text(
        "def rates(given):\n"
        "    pairs = zip(given['sales__n'], given['staff'])\n"
        "    return {'rate': [n / staff if n and staff else 0.0 for n, staff in pairs]}\n"
    )
    monkeypatch.syspath_prepend(shops.parent)
    (shops / "declarations.py").write_text(SHOPS + VIEWS + TRANSFORM)
    (transform,) = compiled(shops, service="rated").transforms
    sys.modules.pop("opening_features", None)
    assert set(transform.views) == {"openings", "sales"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    ttl=timedelta(days=2),\n", "", "has no ttl; give one, such as"),
        ("timedelta(days=2)", "timedelta(microseconds=1500)", "its ttl must be a whole number of millis"),
        ("ttl=timedelta(days=2)", "ttl=timedelta(days=2), online=False", "is not online, .* leave online"),
        ("entities=[shop, weekday]", "entities=[]", "has no entity; give it one"),
        (
            "value_type=ValueType.INT64)\ntable",
            "value_type=ValueType.INT32)\ntable",
            "join key 'day' is Int32; make it String or Int64",
        ),
        ('"hours", dtype=Float64', '"hours", dtype=Bool', "'hours' is Bool; make it one of Int64, Float64"),
        ("features=[openings,", 'features=[openings.with_name("o"),', "is renamed or pinned in the service"),
        (
            "features=[openings,",
            'features=[openings.with_join_key_map({"shop_id": "till"}),',
            "is renamed or pinned in the service",
        ),
    ],
)
def test_what_cannot_be_looked_up_is_refused_with_advice(shops, old, new, said):
    changes = [(old, new)]
    if "INT32" in new:
        changes.append(('"day", dtype=Int64', '"day", dtype=Int32'))
    if "entities=[]" in new:
        changes.append(('        Field(name="day", dtype=Int64),\n', ""))
    with pytest.raises(ConfigError, match=f"batch view 'o(penings)?': .*{said}"):
        compiled(shops, *changes)


def test_the_events_must_have_the_join_keys_as_fields_of_their_kind(project: Project):
    running = project.engine()
    day = Lookup("openings", (Input("day", "number"),), (Output("staff", "int"),), 1)
    plan = replace(running.state.plan(), lookups=(day,))
    for fields, fault in (({}, True), ({"day": Text()}, True), ({"day": Number()}, False)):
        events = replace(running.pipeline.events, fields={**running.pipeline.events.fields, **fields})
        checked = project.engine(events=events)
        if fault:
            with pytest.raises(
                ConfigError, match=r"'openings' reads the field 'day' of topic 'flights'.*Number"
            ):
                check_plan(checked.pipeline, plan)
        else:
            check_plan(checked.pipeline, plan)


def test_a_predict_flow_without_batch_views_does_not_import_feast(project: Project):
    program = (
        "import sys; from flows.predict import build; from flows.runtime.engine import load_engine; "
        "build(load_engine()); "
        "print([name for name in ('feast', 'cachetools', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project.directory, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
