"""The freshness rule of batch views, and the reasons of nulls."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.features.batch import Question
from flows.core.features.lookups import Lookups, Stored, key_of, usable
from flows.core.features.plan import Aggregate, FeaturePlan, Input, Lookup, Output, Transform, View
from flows.core.features.transforms import Transformer
from flows.errors import ConfigError

NOON, HOUR = 1_357_041_600_000, 3_600_000
WEATHER = Lookup(
    "weather",
    (Input("origin", "string"), Input("hour", "number")),
    (Output("wind", "float"), Output("sky", "string")),
    2 * HOUR,
)
AIRCRAFT = Lookup("aircraft", (Input("tail", "string"),), (Output("seats", "int"),), 365 * 24 * HOUR)
SALES = View("sales", "shop", "sales", (Aggregate("n", "count", "", HOUR, "int"),))
PLAN = FeaturePlan("s", (SALES,), lookups=(WEATHER, AIRCRAFT))


class FixedTable:
    """Holds `rows` by lookup and key; cannot read the keys that are `away`."""

    def __init__(self, rows=None, away=()):
        self.rows, self.away, self.reads = rows or {}, away, []

    def read(self, lookup, keys):
        self.reads.append((lookup.name, list(keys)))
        return {key: self.rows.get((lookup.name, key)) for key in keys if key not in self.away}


def asked(time=NOON, **payload):
    return Question("q", time, {"origin": "JFK", "hour": 12, "tail": "N1"} | payload)


def extended(table, *questions, plan=PLAN):
    vectors = [[number] for number, _ in enumerate(questions)]
    nulls = Lookups(plan, table).extend(questions, vectors)
    return vectors, nulls


@pytest.mark.parametrize(
    ("stored", "outcome"),
    [
        (NOON, "used"),
        (NOON - 1, "used"),
        (NOON - 2 * HOUR, "used"),
        (NOON - 2 * HOUR - 1, "stale"),
        (0, "stale"),
        (NOON + 1, "future"),
        (NOON + HOUR, "future"),
    ],
)
def test_a_value_is_used_from_its_own_time_until_its_freshness_ends(stored, outcome):
    table = FixedTable({("weather", ("JFK", 12)): Stored(stored, [7.5, "rain"])})
    vectors, nulls = extended(table, asked(), plan=FeaturePlan("s", (), lookups=(WEATHER,)))
    if outcome == "used":
        assert (vectors, nulls) == ([[0, 7.5, "rain"]], {})
    else:
        assert (vectors, nulls) == ([[0, None, None]], {("weather", outcome): 1})


@given(
    asked_at=st.integers(0, 100),
    freshness=st.integers(1, 30),
    rows=st.dictionaries(st.sampled_from("abc"), st.integers(0, 100)),
    away=st.sets(st.sampled_from("abc")),
    key=st.sampled_from(["a", "b", "c", None]),
)
def test_no_question_ever_gets_a_value_from_outside_its_window_and_each_null_is_counted_once(
    asked_at, freshness, rows, away, key
):
    """The value stored for each key is its time, so a served value shows its origin."""
    lookup = Lookup("v", (Input("k", "string"),), (Output("at", "int"),), freshness)
    table = FixedTable({("v", (k,)): Stored(time, [time]) for k, time in rows.items()}, {(k,) for k in away})
    vectors = [[]]
    nulls = Lookups(FeaturePlan("s", (), lookups=(lookup,)), table).extend(
        [Question("q", asked_at, {"k": key})], vectors
    )
    ((served,),) = vectors
    within = key in rows and key not in away and 0 <= asked_at - rows[key] <= freshness
    assert served == (rows[key] if within else None)
    assert sum(nulls.values()) == (0 if within else 1)


def test_each_null_has_the_reason_why():
    table = FixedTable(
        {
            ("weather", ("JFK", 12)): Stored(NOON, [7.5, None]),
            ("aircraft", ("N1",)): Stored(NOON + 1, [180]),
        },
        away={("N2",)},
    )
    vectors, nulls = extended(
        table,
        asked(),
        asked(hour=13, tail="N2"),
        asked(origin=None, tail=None),
        asked(time=NOON + 3 * HOUR),
    )
    assert vectors == [
        [0, 7.5, None, None],  # a null of the table itself is its value
        [1, None, None, None],
        [2, None, None, None],
        [3, None, None, 180],
    ]
    assert nulls == Counter(
        {
            ("weather", "missing"): 2,
            ("weather", "stale"): 1,
            ("aircraft", "future"): 1,
            ("aircraft", "away"): 1,
            ("aircraft", "missing"): 1,
        }
    )


def test_each_key_of_a_batch_is_read_once_for_each_view():
    table = FixedTable()
    extended(table, asked(), asked(), asked(hour=13), asked(origin=None), asked(hour=12.0))
    assert table.reads == [("weather", [("JFK", 12), ("JFK", 13)]), ("aircraft", [("N1",)])]


@pytest.mark.parametrize(
    ("hour", "key"),
    [
        (12, ("JFK", 12)),
        (12.0, ("JFK", 12)),
        (-(2**63), ("JFK", -(2**63))),
        (2**63 - 1, ("JFK", 2**63 - 1)),
        (2**63, None),
        (1e150, None),
        (12.5, None),
        (None, None),
    ],
)
def test_a_key_is_made_of_texts_and_whole_numbers_of_64_bits(hour, key):
    assert key_of(WEATHER, {"origin": "JFK", "hour": hour}) == key


def test_a_field_that_an_event_leaves_out_is_no_key():
    assert key_of(WEATHER, {"origin": "JFK"}) is None
    assert usable(None, {}, NOON, HOUR) == "missing"


def test_the_features_stand_between_the_views_and_the_transforms_which_get_them():
    gusty = Transform(
        "gusty",
        "m:gusty",
        "0",
        (Input("hour", "number"),),
        ("sales", "weather"),
        (Output("score", "float"),),
    )
    plan = replace(PLAN, transforms=(gusty,))
    assert plan.names == ("sales__n", "weather__wind", "weather__sky", "aircraft__seats", "gusty__score")
    table = FixedTable({("weather", ("JFK", 12)): Stored(NOON, [7.5, "rain"])})
    vectors, _ = extended(table, asked(), asked(hour=13), plan=plan)

    def scores(given):
        assert given["weather__wind"] == given["wind"]
        return {
            "score": [n + (wind or -1.0) for n, wind in zip(given["sales__n"], given["wind"], strict=True)]
        }

    Transformer(plan, {"gusty": scores}).extend([asked(), asked(hour=13)], vectors)
    assert vectors == [[0, 7.5, "rain", None, 7.5], [1, None, None, None, 0.0]]


def test_a_plan_with_lookups_survives_being_written_and_read():
    again = FeaturePlan.from_json(PLAN.to_json())
    assert (again, again.hash) == (PLAN, PLAN.hash)


def test_a_plan_without_the_member_lookups_is_refused_with_what_to_do():
    plan = replace(PLAN, lookups=())
    old = plan.to_json().replace(b'"lookups": []', b'"other": []')
    assert b'"lookups"' not in old
    with pytest.raises(ConfigError, match="run `driftline apply`"):
        FeaturePlan.from_json(old)


@pytest.mark.parametrize(
    "changed",
    [
        replace(WEATHER, name="winds"),
        replace(WEATHER, keys=WEATHER.keys[:1]),
        replace(WEATHER, features=WEATHER.features[::-1]),
        replace(WEATHER, freshness=HOUR),
    ],
)
def test_the_hash_changes_with_every_part_of_a_lookup(changed):
    assert replace(PLAN, lookups=(changed, AIRCRAFT)).hash != PLAN.hash
    assert replace(PLAN, lookups=()).hash != PLAN.hash
