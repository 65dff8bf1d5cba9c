"""The rows of a training are those that the learner learns: compared with a learner over the same records."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from river import metrics

from flows.core.evaluation.evaluation import Evaluation
from flows.core.evaluation.label_join import Label
from flows.core.learning.candidates.joined_log import JoinedLog, JoinSettings
from flows.core.learning.learner import Learner
from flows.core.learning.policy import ContestPolicy, Policy
from flows.core.learning.training import LabelledRow
from flows.core.models.model import Model, Prediction
from flows.core.models.tasks import BINARY, TASKS
from flows.core.stream.broker import Record

WAIT = 100
CONTESTS = ContestPolicy(significance=0.05, patience=400, block=10)


class Notebook:
    """An estimator that writes down what it was taught."""

    def __init__(self) -> None:
        self.lessons: list[tuple[Any, Any]] = []

    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        return {True: 0.5}

    def learn_one(self, features: dict[str, Any], truth: bool) -> None:
        self.lessons.append((features["a"], truth))


def record(topic: str, offset: int, time: int) -> Record:
    return Record(topic, 0, offset, time, None, None, ())


def prediction(number: int, time: int) -> Prediction:
    return Prediction(str(number), time, 0.5, "v1", {}, [number])


# an event: its time, the delay of its label (negative: the label is early), None without a label
EVENTS = st.lists(st.tuples(st.integers(0, 1000), st.none() | st.integers(-50, 150)), max_size=60)


def records(events: list[tuple[int, int | None]]) -> list[tuple[int, str, int]]:
    """The time, topic and number of each record, in the order of time."""
    found = [(time, "predictions", number) for number, (time, _) in enumerate(events)]
    found += [
        (max(0, time + delay), "labels", number)
        for number, (time, delay) in enumerate(events)
        if delay is not None
    ]
    return sorted(found)


def learned(events: list[tuple[int, int | None]], default: bool | None) -> list[tuple[int, bool]]:
    policy = Policy(WAIT, 0.002, 10**9, 0, CONTESTS, default_label=default, outliers="learn")
    learner = Learner("p", policy, ("a",), Model("v1", Notebook()), Evaluation(metrics.LogLoss))
    for offset, (time, topic, number) in enumerate(records(events)):
        if topic == "labels":
            learner.labelled(Label(str(number), time, number % 2 == 0, record(topic, offset, time)))
        else:
            learner.predicted(prediction(number, time))
    lessons: list[tuple[int, bool]] = learner.champion.estimator.lessons
    return lessons


def logged(
    events: list[tuple[int, int | None]], default: bool | None, since: int = 0
) -> tuple[list[LabelledRow], JoinedLog]:
    log, rows = JoinedLog(BINARY, JoinSettings(since, WAIT, 10**6, default)), list[LabelledRow]()
    for offset, (time, topic, number) in enumerate(records(events)):
        if topic == "labels":
            label = Label(str(number), time, number % 2 == 0, record(topic, offset, time))
            rows += log.labelled(label)
        else:
            rows += log.predicted(prediction(number, time), record(topic, offset, time))
    return rows, log


@settings(deadline=None)  # a learner takes a while to build
@given(EVENTS, st.none() | st.booleans())
def test_the_rows_are_what_the_learner_learns_in_its_order(events, default):
    rows, _ = logged(events, default)
    assert [(row.features[0], row.truth) for row in rows] == learned(events, default)


@given(EVENTS, st.integers(0, 1000))
def test_only_labels_known_since_the_change_make_rows(events, since):
    rows, _ = logged(events, None, since)
    times = {number: max(0, time + delay) for number, (time, delay) in enumerate(events) if delay is not None}
    everything, _ = logged(events, None)
    assert rows == [row for row in everything if times[row.features[0]] >= since]


def test_the_cut_is_behind_the_last_records_and_names_labels_without_a_prediction():
    _, log = logged([(10, 5), (20, None)], None)
    cut = log.cut()
    assert (cut.labels, cut.predictions, cut.early) == ({0: 2}, {0: 3}, frozenset())
    list(log.labelled(Label("later", 30, True, record("labels", 7, 30))))
    assert (log.cut().labels, log.cut().early) == ({0: 8}, {"later"})


def test_default_labels_end_at_the_latest_time():
    _, log = logged([(10, 5), (700, None)], True)
    assert log.cut().labels[-1] == log.now == 700


def test_many_labels_in_a_row_without_a_prediction_are_ahead_of_it():
    log = JoinedLog(BINARY, JoinSettings(0, WAIT, 10**6, None))
    for number in range(100):
        assert not log.is_ahead
        list(log.labelled(Label(str(number), 1, True, record("labels", number, 1))))
    assert log.is_ahead
    list(log.predicted(prediction(0, 1), record("predictions", 0, 1)))
    assert not log.is_ahead


def test_a_task_without_labels_has_a_row_for_each_prediction_since_the_change():
    log = JoinedLog(TASKS["anomaly"], JoinSettings(20, WAIT, 10**6, None))
    rows = [
        row
        for offset, time in enumerate((10, 20, 30))
        for row in log.predicted(prediction(offset, time), record("predictions", offset, time))
    ]
    assert rows == [LabelledRow([1], None), LabelledRow([2], None)]
    assert (log.cut().is_of_labels, log.cut().rows) == (False, {0: 3})
