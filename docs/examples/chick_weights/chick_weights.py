"""Predicts, each morning, how heavy a chick will be in the evening."""

from datetime import timedelta

from river import linear_model, optim

from flows import Number, Pipeline, Stream, Text, Time

EGG = 41.0  # grams, before the first weighing


def prepare(x):
    """Return numbers only, from about 0 to 3; a chick without a weighing gets the weight of an egg."""
    last, first = x["chick_weights__last_14d"] or EGG, x["chick_weights__first_30d"] or EGG
    return {
        "day": x["day"] / 21,
        "last": last / 100,
        "gained": (last - first) / 100,
        "weighed": x["chick_weights__count_30d"] / 10,
        "others": (x["feed_weights__mean_3d"] or EGG) / 100,
        "heaviest": (x["feed_weights__max_3d"] or EGG) / 100,
    }


pipeline = Pipeline(
    name="chick_weights",
    task="regression",
    events=Stream(
        "weighings",
        id="weighing_id",
        time="asked_at",
        fields={
            "weighing_id": Text(),
            "asked_at": Time(),
            "chick": Text(),
            "feed": Text(),
            "day": Number(0, 100),
        },
    ),
    sources=(
        Stream(
            "weights",
            id="weighing_id",
            time="weighed_at",
            fields={
                "weighing_id": Text(),
                "weighed_at": Time(),
                "chick": Text(),
                "feed": Text(),
                "grams": Number(10, 5000),
            },
        ),
    ),
    labels=Stream(
        "weight_labels",
        id="weighing_id",
        time="known_at",
        fields={"weighing_id": Text(), "known_at": Time(), "grams": Number(10, 5000)},
    ),
    target="grams",
    entities=("chick", "feed"),
    service="chick_weights",
    inputs=("day",),
    model=lambda: prepare | linear_model.LinearRegression(optim.SGD(0.02), intercept_init=EGG),
    lateness=timedelta(hours=1),
    dataset="chick_data:records",
)
