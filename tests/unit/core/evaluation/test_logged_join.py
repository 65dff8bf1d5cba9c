"""The join over a log: its clock is the time of the records."""

from flows.core.evaluation.label_join import Label
from flows.core.evaluation.logged_join import LoggedJoin
from flows.core.evaluation.pending_block import Pending
from flows.core.models.model import Prediction
from flows.core.stream.broker import Record

WAIT = 1000


def record(time: int) -> Record:
    return Record("labels", 0, 0, time, None, b"", ())


def pending(event_id: str, time: int) -> Pending:
    return Pending(Prediction(event_id, time, 0.5, "v1", {}, []), 0.25, 1.0)


def test_a_prediction_gets_the_default_label_at_the_end_of_its_wait_and_once() -> None:
    join = LoggedJoin(WAIT, 10, default=False)
    join.predicted(pending("a", 0))
    assert list(join.advance(WAIT, record(WAIT))) == []
    found = [*join.advance(WAIT + 1, record(WAIT + 1)), *join.advance(2 * WAIT, record(2 * WAIT))]
    assert [(served.prediction.id, label.truth, label.time) for served, label in found] == [
        ("a", False, WAIT)
    ]


def test_without_a_default_label_an_old_prediction_is_dropped() -> None:
    join = LoggedJoin(WAIT, 10, default=None)
    join.predicted(pending("a", 0))
    assert list(join.advance(WAIT + 1, record(WAIT + 1))) == []
    assert (len(join), join.expired) == (0, 1)


def test_an_early_label_is_dropped_after_its_wait() -> None:
    join = LoggedJoin(WAIT, 10, default=False)
    join.labelled(Label("a", 0, True, record(0)))
    assert list(join.advance(WAIT + 1, record(WAIT + 1))) == []
    assert list(join.early) == []


def test_time_does_not_go_back() -> None:
    join = LoggedJoin(WAIT, 10, default=False)
    list(join.advance(5000, record(5000)))
    list(join.advance(4000, record(4000)))
    assert join.now == 5000
