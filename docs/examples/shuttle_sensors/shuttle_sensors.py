"""Predicts, for each reading of a space shuttle's sensors, whether it is an anomaly."""

from river import anomaly, preprocessing

from flows import Flag, Number, Pipeline, Stream, Text, Time

SENSORS = tuple(f"f{number}" for number in range(1, 10))


def prepare(x):
    """Return each sensor's distance from its mean over the last hour, this reading included."""
    return {name: x[name] - x[f"shuttle_readings__mean_{name}_1h"] for name in SENSORS}


def model():
    """Return a detector in a filter whose threshold flags 7 of 100 readings."""
    detector = anomaly.HalfSpaceTrees(n_trees=10, height=6, window_size=100, seed=1)
    return prepare | preprocessing.MinMaxScaler() | anomaly.QuantileFilter(detector, q=0.93)


pipeline = Pipeline(
    name="shuttle_sensors",
    task="anomaly",
    events=Stream(
        "readings",
        id="reading_id",
        time="read_at",
        fields={
            "reading_id": Text(),
            "read_at": Time(),
            "shuttle": Text(),
            **{name: Number(-100_000, 100_000) for name in SENSORS},
        },
    ),
    labels=Stream(
        "reading_labels",
        id="reading_id",
        time="known_at",
        fields={"reading_id": Text(), "known_at": Time(), "anomaly": Flag()},
    ),
    target="anomaly",
    entities=("shuttle",),
    service="shuttle_sensors",
    inputs=SENSORS,
    model=model,
    dataset="shuttle_data:records",
)
