"""Attribution drift through the learn flow, over a small stream in which other features come to matter."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random

from harness import Project, run_flow
from made_flights import HOUR, MINUTE, NOON, label, prediction, served
from schemas import check_all

from flows.core.drift.signal import DriftSignal
from flows.core.stream.broker import Outgoing
from flows.policies import DriftPolicy
from flows.runtime.engine import Engine

FLIGHTS, CHANGE = 5200, 3200  # the first 1,440 flights, one a minute, fill the windows
DECLARED = {
    "drift": DriftPolicy(kinds=("attribution",), warm_up=100, cool_down=timedelta(hours=1)),
    "label_wait": timedelta(hours=6),
}


def flights(running: Engine) -> Iterator[Outgoing]:
    """Yield predictions and labels: late departures tell a late flight, after `CHANGE` its carrier does."""
    names, random = running.pipeline.feature_names(running.state.plan()), Random(5)
    carrier, minute, delay = map(
        names.index, ("carrier", "minute_of_day", "origin_departures__mean_delay_1h")
    )
    for number in range(FLIGHTS):
        time, truth = NOON + number * MINUTE, random.random() < 0.4
        answer = served(running, f"F{number:05}", time, truth, True, random)
        features = list(answer.features)
        features[minute] = time % (24 * HOUR) // MINUTE
        features[carrier] = random.choice(["AA", "UA"])
        if number >= CHANGE:
            features[carrier] = "UA" if truth else "AA"
            features[delay] = None
        yield prediction(running, answer._replace(features=features))
        yield label(answer.id, time + 10 * MINUTE, truth)


def test_other_features_that_matter_are_a_signal_on_the_drift_topic(project: Project) -> None:
    running = project.with_settings(BATCH=100).engine(**DECLARED)
    project.send(sorted(flights(running), key=lambda record: record.timestamp))
    run_flow(running, "learn")
    records = project.records("drift")
    check_all("drift", records)
    signal = DriftSignal.from_json(records[0].value)
    assert (signal.kind, signal.detector, signal.status) == ("attribution", "ndcg", "firing")
    assert (signal.level, signal.severity) == ("warning", "warning")
    assert signal.topic == "flight_delays.predictions"
    assert CHANGE < signal.offset < FLIGHTS
    assert signal.estimate_after < 0.9 < signal.estimate_before == 1.0
    risen = [column.name for column in signal.columns if column.after < column.before]
    assert {"carrier_AA", "carrier_UA"} & set(risen)
