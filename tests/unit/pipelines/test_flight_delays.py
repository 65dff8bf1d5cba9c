"""The model input of flight_delays."""

import math
import pickle
from collections import Counter
from typing import Any

import pytest

from flows.pipelines.flight_delays import binned, bins, model, pipeline, prepare

CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")
SOURCES = [
    f"{entity}_{topic}__"
    for entity in ("origin", "carrier", "route", "aircraft")
    for topic in ("departures", "arrivals")
]


def given(carrier: str, minute_of_day: int, count: int, delay: float | None) -> dict[str, Any]:
    counts = {f"{source}count_{window}": count for source in SOURCES for window in ("1h", "3h", "24h")}
    delays = {
        f"{source}{name}_delay_{window}": delay
        for source in SOURCES
        for name in ("mean", "max")
        for window in ("1h", "3h", "24h")
    }
    return {"carrier": carrier, "minute_of_day": minute_of_day, **counts, **delays}


@pytest.mark.parametrize("carrier", [*CARRIERS, "a new one"])
@pytest.mark.parametrize(("count", "delay"), [(0, None), (1, -43.0), (1_000, 1_301.0)])
def test_the_model_gets_the_same_finite_numbers_from_every_event(
    carrier: str, count: int, delay: float | None
) -> None:
    features = prepare(given(carrier, 315, count, delay))
    assert features.keys() == prepare(given("UA", 0, 0, None)).keys()
    assert all(type(value) is float and math.isfinite(value) for value in features.values())
    carriers = Counter({name: value for name, value in features.items() if name.startswith("carrier_")})
    assert features.get(f"carrier_{carrier}", 0.0) == (carrier in CARRIERS)
    assert sum(carriers[f"carrier_{each}"] for each in CARRIERS) == (carrier in CARRIERS)


def test_early_and_late_are_mirror_images_and_no_flights_are_on_time() -> None:
    name = "aircraft_arrivals__mean_delay_3h"
    early, late, none = (prepare(given("UA", 0, 1, delay))[name] for delay in (-30.0, 30.0, None))
    assert (early, none) == (-late, 0)
    assert late == pytest.approx(math.log(31))


def test_midnight_has_no_edge() -> None:
    before, after = (prepare(given("UA", minute, 0, None)) for minute in (1_439, 0))
    for name in ("day_sin", "day_cos", "half_day_sin", "half_day_cos"):
        assert before[name] == pytest.approx(after[name], abs=0.01)


def test_one_event_does_not_change_what_the_next_is_given() -> None:
    first = prepare(given("UA", 0, 0, None))
    prepare(given("AA", 0, 5, 9.0))
    assert prepare(given("UA", 0, 0, None)) == first
    prepare(given("UA", 0, 0, None))["carrier_AA"] = 1.0
    assert prepare(given("UA", 0, 0, None)) == first


def test_a_learned_model_survives_pickling() -> None:
    learned = model()
    for late, delay in [(True, 60.0), (False, -5.0)] * 50:
        learned.learn_one(given("UA", 600, 9, delay), late)
    again = pickle.loads(pickle.dumps(learned))  # noqa: S301 made here
    asked = given("UA", 600, 9, 45.0)
    assert again.predict_proba_one(asked) == learned.predict_proba_one(asked)
    assert learned.predict_proba_one(asked)[True] > 0.9


def test_the_models_inputs_are_fields_of_the_event() -> None:
    assert set(pipeline.inputs) <= pipeline.events.fields.keys()
    assert set(pipeline.entities) <= pipeline.events.fields.keys()


@pytest.mark.parametrize(("delay", "place"), [(None, "None"), (-30.0, "-7"), (0.0, "0"), (30.0, "7")])
def test_each_delay_has_one_bin_and_no_flights_have_their_own(delay: float | None, place: str) -> None:
    name = "aircraft_arrivals__max_delay_3h"
    found = [each for each in bins(given("UA", 315, 1, delay)) if each.startswith(f"{name} ")]
    assert found == [f"{name} {place}"]


@pytest.mark.parametrize("minute", [315, 315.0])
def test_the_time_of_day_has_the_same_bins_whether_it_is_a_whole_number_or_not(minute: float) -> None:
    found = bins(given("UA", minute, 1, 0.0))  # type: ignore[arg-type]
    assert {"half hour 10", "UA 5"} <= found.keys()
    assert set(found.values()) == {1.0}


def test_the_model_with_bins_learns_them() -> None:
    late, early = (given("UA", 315, 1, delay) for delay in (60.0, -20.0))
    estimator = binned()
    for _ in range(50):
        estimator.learn_one(late, True)
        estimator.learn_one(early, False)
    assert estimator.predict_proba_one(late)[True] > 0.8
    assert estimator.predict_proba_one(early)[True] < 0.2
