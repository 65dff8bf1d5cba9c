"""Predicts, at the start of each hour, whether the flow through a pipe will fall, stay or rise."""

from math import cos, pi, sin

from river import linear_model, optim, preprocessing

from flows import Number, Pipeline, Stream, Text, Time


def prepare(x):
    """Return numbers only; without a measurement for a day, all differences are 0."""
    last = x["pipe_flow__last_24h"] or 0.0
    features = {
        name: last - (x[f"pipe_flow__{name}"] or last)
        for name in ("mean_3h", "mean_24h", "min_24h", "max_24h")
    }
    features["spread"] = x["pipe_flow__std_24h"] or 0.0
    angle = x["hour"] * (2 * pi / 24)  # on a circle, so that 23:00 is next to 0:00
    features |= {"sin": sin(angle), "cos": cos(angle), "sin2": sin(2 * angle), "cos2": cos(2 * angle)}
    return features


pipeline = Pipeline(
    name="water_flow",
    task="multiclass",
    events=Stream(
        "hours",
        id="hour_id",
        time="began_at",
        fields={"hour_id": Text(), "began_at": Time(), "pipe": Text(), "hour": Number(0, 23)},
    ),
    sources=(
        Stream(
            "measurements",
            id="hour_id",
            time="measured_at",
            fields={"hour_id": Text(), "measured_at": Time(), "pipe": Text(), "flow": Number(0, 1000)},
        ),
    ),
    labels=Stream(
        "movements",
        id="hour_id",
        time="known_at",
        fields={"hour_id": Text(), "known_at": Time(), "movement": Text()},
    ),
    target="movement",
    entities=("pipe",),
    service="water_flow",
    inputs=("hour",),
    model=lambda: prepare | preprocessing.StandardScaler() | linear_model.SoftmaxRegression(optim.SGD(0.05)),
    dataset="water_data:records",
)
