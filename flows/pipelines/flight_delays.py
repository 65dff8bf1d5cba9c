"""Will a flight from New York City arrive more than 15 minutes late? Predicted at its scheduled departure.

The model knows the schedule and the earlier flights of the same airport, carrier, route and aircraft. The
label comes at the actual arrival. A cancelled or diverted flight counts as late; its label comes 15 minutes
after the scheduled arrival, when it can no longer be on time.
"""

from collections.abc import Mapping
from datetime import timedelta
from math import copysign, cos, log1p, pi, sin
from typing import Any

from river import compose, linear_model, optim, preprocessing

from flows import DriftPolicy, Flag, Number, Pipeline, RetrainPolicy, Stream, Text, Time
from flows.core.stream.fields import Field

_VIEWS = [f"{e}_{t}" for e in ("origin", "carrier", "route", "aircraft") for t in ("departures", "arrivals")]
_DELAYS = [f"{view}__mean_delay_{window}" for view in _VIEWS for window in ("1h", "3h", "24h")]
_COUNTS = [f"{view}__count_{window}" for view in _VIEWS for window in ("1h", "24h")]
_BINNED_DELAYS = [*_DELAYS, *(name.replace("mean", "max") for name in _DELAYS)]
_BINNED_COUNTS = [f"{view}__count_{window}" for view in _VIEWS for window in ("1h", "3h", "24h")]
_CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")
_NO_CARRIER = dict.fromkeys((f"carrier_{carrier}" for carrier in _CARRIERS), 0.0)
_ONE_HOT = {carrier: {**_NO_CARRIER, f"carrier_{carrier}": 1.0} for carrier in _CARRIERS}


def prepare(x: Mapping[str, Any]) -> dict[str, float]:
    """Return the model's features of an event: only numbers, and none missing.

    Delays (minutes) and counts are on a logarithmic scale because of their long tails; the mean of no flights
    is 0. The time of day is on a circle, so that midnight is not an edge.
    """
    features = _ONE_HOT.get(x["carrier"], _NO_CARRIER).copy()
    for name in _DELAYS:
        delay = x[name]
        features[name] = 0.0 if delay is None else log1p(delay) if delay >= 0 else -log1p(-delay)
    for name in _COUNTS:
        features[name] = log1p(x[name])
    angle = x["minute_of_day"] * (2 * pi / 1440)
    features["day_sin"], features["day_cos"] = sin(angle), cos(angle)
    features["half_day_sin"], features["half_day_cos"] = sin(2 * angle), cos(2 * angle)
    return features


def model() -> Any:
    """Return online logistic regression with a step size for each weight (Duchi et al., 2011).

    The intercept follows the share of late flights slowly, so that labels some hours old do little harm.
    """
    regression = linear_model.LogisticRegression(optim.AdaGrad(0.05), intercept_lr=0.0015)
    return prepare | preprocessing.StandardScaler() | regression


def bins(x: Mapping[str, Any]) -> dict[str, float]:
    """Return the bin of each delay and count, of the time of day, and of the carrier's hour, each as a 1.

    With a weight for each bin, a sum of weights can have any shape, such as no effect of a delay below ten
    minutes. The bins are equally wide on the logarithmic scale; no delay has a bin of its own.
    """
    found: dict[str, float] = {}
    for name in _BINNED_DELAYS:
        delay = x[name]
        place = None if delay is None else round(2 * copysign(log1p(abs(delay)), delay))
        found[f"{name} {place}"] = 1.0
    for name in _BINNED_COUNTS:
        found[f"{name} {round(3 * log1p(x[name]))}"] = 1.0
    minute = int(x["minute_of_day"])
    found[f"half hour {minute // 30}"] = 1.0
    found[f"{x['carrier']} {minute // 60}"] = 1.0
    return found


def binned(rate: float = 0.02) -> Any:
    """Return `model` with a further weight for each bin; `eps` keeps the first steps of rare bins small."""
    regression = linear_model.LogisticRegression(optim.AdaGrad(rate, eps=1.0), intercept_lr=0.0015)
    scaled = compose.Pipeline(prepare, preprocessing.StandardScaler())
    return (scaled + compose.FuncTransformer(bins)) | regression


_KEYS: dict[str, Field] = {
    "origin": Text(),
    "carrier": Text(),
    "route": Text(),
    "tail_number": Text(required=False),
}
_MOVEMENT: dict[str, Field] = {"flight_id": Text(), **_KEYS, "delay": Number(-1440, 10_080)}

pipeline = Pipeline(
    name="flight_delays",
    events=Stream(
        "flights",
        id="flight_id",
        time="scheduled_departure",
        fields={
            "flight_id": Text(),
            "scheduled_departure": Time(),
            "scheduled_arrival": Time(),
            **_KEYS,
            "destination": Text(),
            "flight_number": Number(1, 9999),
            "distance": Number(0, 20_000),
            "month": Number(1, 12),
            "weekday": Number(0, 6),
            "hour": Number(0, 23),
            "minute_of_day": Number(0, 1439),
            "scheduled_minutes": Number(1, 1440),
        },
    ),
    sources=(
        Stream("departures", "flight_id", "departed_at", {**_MOVEMENT, "departed_at": Time()}),
        Stream("arrivals", "flight_id", "arrived_at", {**_MOVEMENT, "arrived_at": Time()}),
    ),
    labels=Stream(
        "flight_labels", "flight_id", "known_at", {"flight_id": Text(), "known_at": Time(), "late": Flag()}
    ),
    target="late",
    entities=("origin", "carrier", "route", "tail_number"),
    service="flight_delays",
    inputs=("carrier", "minute_of_day"),
    slices=("carrier",),
    model=model,
    # weather alone changes the error every week: only a large change counts, and at most once a month
    drift=DriftPolicy(delta=1e-6, warm_up=5000, cool_down=timedelta(days=30)),
    # flights of one day have the same weather: a block of the contest is half a day, and a trial too hasty
    retrain=RetrainPolicy(minimum_labels=500, block=500, patience=10_000, trial=0),
    label_wait=timedelta(days=3),
    dataset="flows.pipelines.flights_data:records",
)
