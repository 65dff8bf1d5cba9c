"""A binary pipeline that declares every field of a pipeline."""

from datetime import timedelta

from river import linear_model, metrics, preprocessing

from flows import Costs, DriftPolicy, Flag, Number, Pipeline, RetrainPolicy, Stream, Text, Time

COLUMNS = ("empty_server_form_handler", "popup_window", "https", "request_from_other_domain")


def prepare(x):
    """Return the numeric features."""
    features = {name: x[name] for name in COLUMNS}
    for name, value in x.items():
        if name.startswith(("site_clicks", "site_steps")) and not isinstance(value, str):
            features[name] = float(value or 0)
    return features | {"ip": float(x["ip"]), "is_last": float(x["site_clicks__last_referrer"] == "mail")}


pipeline = Pipeline(
    name="phishing",
    task="binary",
    events=Stream(
        "visits",
        id="visit_id",
        time="at",
        fields={
            "visit_id": Text(),
            "at": Time(),
            "site": Text(),
            "popular": Text(),
            "ip": Flag(),
            **{name: Number(0, 1) for name in COLUMNS},
        },
    ),
    sources=(
        Stream(
            "clicks",
            id="click_id",
            time="at",
            fields={
                "click_id": Text(),
                "at": Time(),
                "site": Text(),
                "seconds": Number(0, 1000),
                "referrer": Text(),
            },
        ),
    ),
    labels=Stream(
        "verdicts", id="visit_id", time="at", fields={"visit_id": Text(), "at": Time(), "phishing": Flag()}
    ),
    target="phishing",
    entities=("site",),
    service="phishing",
    inputs=(*COLUMNS, "popular", "ip"),
    slices=("popular", "ip"),
    costs=Costs(false_positive=1, false_negative=4),
    metrics=lambda: metrics.F1() + metrics.LogLoss(),
    model=lambda: prepare | preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    drift=DriftPolicy(
        detector="page_hinkley",
        options={"min_instances": 500},
        warm_up=500,
        cool_down=timedelta(hours=1),
        period=timedelta(hours=2),
        kinds=("concept", "quality"),
    ),
    retrain=RetrainPolicy(minimum_labels=20, significance=0.05, patience=200, block=10),
    label_wait=timedelta(minutes=3),
    default_label=False,
    max_pending=100,
    lateness=timedelta(minutes=10),
    partitions=2,
    dataset="phishing_data:records",
)
