"""The drift monitor: predictions and labels become signals of the right kind."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf

import pytest

from flows.core.drift.concept import ConceptDrift
from flows.core.drift.features import FeaturePolicy
from flows.core.drift.levels import ColumnMove, Position
from flows.core.drift.monitor import PREDICTION_BATCH, DriftMonitor, MonitorSettings, SignalContext
from flows.core.drift.quality import Column, QualityPolicy
from flows.core.drift.signal import DriftSignal, signal_id
from flows.core.models.snapshots import Sealer

MINUTE, HOUR = 60_000, 3_600_000
DAY = 24 * HOUR
START = 1_356_998_400_000  # 2013-01-01T00:00:00Z
MONTH = 30 * DAY
WATCHED = MonitorSettings(
    {"distance": Column("number", 0, 5000), "delay": Column("number"), "carrier": Column("category")},
    ("concept", "feature", "prediction", "quality"),
    FeaturePolicy(reference=2000, window=500, cool_down=MONTH, period=DAY),
    QualityPolicy(warm_up=48, cool_down=MONTH, period=DAY),
    ("carrier",),
)
Row = tuple[float | None, float | None, str | None]
Served = tuple[int, Row, float]  # time, features, score


def watch(watched: MonitorSettings = WATCHED) -> DriftMonitor:
    return DriftMonitor("p", "adwin", ConceptDrift("adwin", {}, 100, 0, watched.slices), watched)


def stationary(days: int = 8, seed: int = 1) -> list[Served]:
    """A prediction a minute."""
    rng = random.Random(seed)
    return [
        (
            START + index * MINUTE,
            (rng.gauss(700, 100), rng.gauss(0, 10), rng.choice(["AA", "UA"])),
            rng.random(),
        )
        for index in range(days * 1440)
    ]


FIFTH = 5 * DAY
CHANGE = (2 * 1440 + 1 + 9 * 500) * MINUTE  # where a window begins


def changed(
    change: Callable[[Row, float], tuple[Row, float]], since: int = CHANGE, until: int = 10**15
) -> list[Served]:
    return [
        (time, *change(row, score)) if since <= time - START < until else (time, row, score)
        for time, row, score in stationary()
    ]


def place(index: int) -> Position:
    return Position("p.predictions", 0, index)


def run(watching: DriftMonitor, served: Sequence[Served], start: int = 0) -> Iterator[DriftSignal]:
    for index, (time, row, score) in enumerate(served, start):
        yield from watching.served(row, score, SignalContext(time, place(index), "v1"))


def said(signals: Sequence[DriftSignal]) -> list[tuple[str, str, str]]:
    return [(signal.kind, signal.severity, signal.status) for signal in signals]


def test_a_stream_that_stays_as_it_is_raises_nothing():
    assert list(run(watch(), stationary())) == []


def test_a_stream_with_the_season_of_a_day_raises_nothing():
    def by_day(time: int, row: Row, score: float) -> Served:
        night = time // HOUR % 24 < 6
        return (time, (row[0] + 500 * night, None if night else row[1], row[2]), score * (1 - night))

    seasonal = [by_day(*one) for one in stationary() if one[0] // HOUR % 24 >= 6 or one[0] // MINUTE % 2 == 0]
    assert list(run(watch(), seasonal)) == []


def test_a_feature_that_rises_is_one_alarm_that_names_it_and_where_it_rose_most():
    def longer(row: Row, score: float) -> tuple[Row, float]:
        return (row[0] + (300 if row[2] == "UA" else 0), *row[1:]), score

    (signal,) = [each for each in run(watch(), changed(longer)) if each.status == "firing"]
    assert said([signal]) == [("feature", "critical", "firing")]
    (moved,) = signal.columns
    assert (moved.name, moved.category, moved.fault) == ("distance", None, None)
    assert moved.psi > 0.25
    assert moved.p_value < 0.01
    assert moved.before == pytest.approx(700, abs=20)
    assert (signal.estimate_before, signal.estimate_after) == (moved.before, moved.after)
    assert (signal.slices[0].column, signal.slices[0].value) == ("carrier", "UA")
    assert signal.slices[0].after > signal.slices[0].before + 100
    assert (signal.detector, signal.level, signal.width, signal.sequence) == ("psi", "alarm", 500, 1)
    assert signal.since == START + CHANGE
    assert signal.time == START + signal.offset * MINUTE
    assert signal.id == signal_id(
        "p", "feature", "psi", "critical", "firing", place(signal.offset), signal.since
    )
    assert DriftSignal.from_json(signal.to_json()) == signal


def test_after_an_alarm_a_window_like_the_new_reference_resolves_it():
    def longer(row: Row, score: float) -> tuple[Row, float]:
        return (row[0] + 300, *row[1:]), score

    watching = watch()
    alarm, over = run(watching, changed(longer))
    assert watching.open_signals == []
    assert over == replace(
        alarm,
        id=signal_id("p", "feature", "psi", "critical", "resolved", place(over.offset), alarm.since),
        status="resolved",
        time=START + over.offset * MINUTE,
        offset=over.offset,
    )
    assert over.offset >= alarm.offset + 2 * 1440 + 500  # two periods are the new reference


def test_a_signal_is_open_until_it_is_resolved():
    watching = watch()
    assert watching.open_signals == []
    assert list(labels(watching, 2000, 0.1)) == []
    signals = list(labels(watching, 500, 0.5, start=2000))
    assert signals
    assert watching.open_signals == signals
    list(watching.promoted(SignalContext(START, Position("labels", 0, 2500), "v2")))
    assert watching.open_signals == []


def test_scores_that_fall_are_prediction_drift():
    alarm, over = run(watch(), changed(lambda row, score: (row, score / 4)))
    assert said([alarm, over]) == [
        ("prediction", "critical", "firing"),
        ("prediction", "critical", "resolved"),
    ]
    assert alarm.columns[0].name == "prediction"
    assert alarm.columns[0].before == pytest.approx(0.5, abs=0.05)
    assert {column.name for column in alarm.columns[1:]} <= {"distance", "delay", "carrier"}


def test_classes_are_watched_as_categories():
    watching, found = watch(), []
    rng = random.Random(3)
    for index, (time, row, _) in enumerate(stationary()):
        much = 0.9 if time - START >= CHANGE else 0.3
        score = "late" if rng.random() < much else "on time"
        found += watching.served(row, score, SignalContext(time, place(index), "v1"))
    assert found[0].kind == "prediction"
    column = found[0].columns[0]
    assert column.category in ("late", "on time")
    assert abs(column.after - column.before) > 0.3


def test_nulls_that_appear_are_one_alarm_of_data_quality_that_is_resolved_when_they_are_gone():
    def nothing(row: Row, score: float) -> tuple[Row, float]:
        return (row[0], None, row[2]), score

    alarm, over = run(watch(), changed(nothing, FIFTH, FIFTH + 3 * HOUR))
    assert said([alarm, over]) == [("quality", "critical", "firing"), ("quality", "critical", "resolved")]
    assert alarm.columns == (ColumnMove("delay", 0.0, 1.0, fault="null"),)
    assert (alarm.detector, alarm.width, alarm.since) == ("data_quality", 60, START + FIFTH)
    assert (alarm.estimate_before, alarm.estimate_after) == (0.0, 1.0)
    assert alarm.time == START + FIFTH + HOUR  # the first event after the interval tells
    assert over.time == START + FIFTH + 4 * HOUR


def test_events_that_become_fewer_are_an_alarm_of_data_quality():
    fewer = [each for each in stationary() if each[0] - START < FIFTH or each[0] // MINUTE % 10 == 0]
    (alarm,) = [each for each in run(watch(), fewer) if each.kind == "quality"]
    assert alarm.columns == (ColumnMove("(events)", 60.0, 6.0, fault="rate"),)


def labels(
    watching: DriftMonitor, count: int, rate: float, start: int = 0, asked: int = START
) -> Iterator[DriftSignal]:
    """Labels of predictions `asked` at once; this share shows an error, nearly all of them in one slice."""
    rng = random.Random(start)
    for index in range(start, start + count):
        wrong = rng.random() < rate
        row = (700.0, 0.0, "UA" if wrong else rng.choice(["AA", "UA"]))
        moment = SignalContext(START + index * MINUTE, Position("labels", 0, index), "v1")
        yield from watching.judged(float(wrong), wrong, asked, row, moment)
        watching.learned(asked)


def test_windows_that_one_event_closes_after_a_gap_are_signals_of_their_own():
    policy = QualityPolicy(warm_up=48, cool_down=0, period=DAY)
    watching = watch(WATCHED._replace(quality=policy))
    last = (START + 10 * DAY, *stationary()[-1][1:])
    raised = run(watching, [*stationary(), last])
    at_once = [signal for signal in raised if signal.offset == len(stationary())]
    assert len(at_once) > 1
    assert len({signal.id for signal in at_once}) == len(at_once)


def test_an_error_that_rises_is_concept_drift_that_names_the_slices_and_the_features_that_moved():
    watching = watch()
    moved = [(time, (row[0] + 15, *row[1:]), score) for time, row, score in stationary(3, 2)]
    assert list(run(watching, [*stationary(3), *[(t + 3 * DAY, *rest) for t, *rest in moved]])) == []
    assert list(labels(watching, 2000, 0.1)) == []
    (signal,) = labels(watching, 500, 0.5, start=2000)
    assert (signal.kind, signal.level, signal.topic) == ("concept", "alarm", "labels")
    assert signal.slices[0][:2] == ("carrier", "UA")
    assert signal.columns[0].name == "distance"
    assert 0 < signal.columns[0].psi < 0.1


def test_concept_drift_is_resolved_when_the_error_is_back_or_a_challenger_was_promoted():
    watching = watch()
    for begin in (0, 20_000):
        signals = list(labels(watching, 2000, 0.1, begin)) + list(labels(watching, 1000, 0.5, begin + 2000))
        assert {(s.kind, s.status) for s in signals if s.kind == "concept"} >= {("concept", "firing")}
        if begin:
            over = list(watching.promoted(SignalContext(START, Position("labels", 0, begin), "v2")))
            assert {(each.status, each.model_version) for each in over} == {("resolved", "v2")}
        else:
            over = [s for s in labels(watching, 3000, 0.1, begin + 3000) if s.status == "resolved"]
        firing = [s for s in signals if s.status == "firing"]
        assert {each.labels["severity"] for each in over} == {each.labels["severity"] for each in firing}
    assert list(watching.promoted(SignalContext(START, Position("labels", 0, 1), "v3"))) == []


def test_only_the_declared_kinds_are_watched():
    def worse(row: Row, score: float) -> tuple[Row, float]:
        return (row[0] + 300, None, row[2]), score / 4

    for kind in ("feature", "prediction", "quality"):
        kinds = {s.kind for s in run(watch(WATCHED._replace(kinds=(kind,))), changed(worse))}
        assert kinds == {kind}
    silent = watch(WATCHED._replace(kinds=("feature",)))
    assert list(labels(silent, 2000, 0.1)) + list(labels(silent, 500, 0.5, start=2000)) == []


def test_predictions_of_another_feature_plan_are_left_out():
    served = [(time, (*row, 1.0), score) for time, row, score in stationary()]
    assert list(run(watch(), served)) == []


@pytest.mark.parametrize("stop", [1, PREDICTION_BATCH - 1, PREDICTION_BATCH, 8000])
def test_a_watch_that_was_stored_and_restored_raises_the_same(stop):
    sealer = Sealer(b"s" * 32)
    served = changed(lambda row, score: ((row[0] + 300, *row[1:]), score / 4))
    first, straight = watch(), list(run(watch(), served))
    signals = list(run(first, served[:stop]))
    restored = sealer.open_state(sealer.seal_state(first))
    assert signals + list(run(restored, served[stop:], stop)) == straight
    assert len(straight) >= 2


def test_what_json_has_no_word_for_is_sent_as_near_to_it_as_can_be():
    def strange(row: Row, score: float) -> tuple[Row, float]:
        return (1e200, row[1], ""), score

    signals = list(run(watch(), changed(strange)))
    assert signals
    for signal in signals:
        assert DriftSignal.from_json(signal.to_json()) == signal


FILLING = WATCHED._replace(
    columns={
        **WATCHED.columns,
        "delay": Column("number", fill=2 * DAY),
        "weekend": Column("number", fill=inf),
    },
    warm_up=1000,
)


def serve(watching: DriftMonitor, count: int, scores: Callable[[int], float]) -> list[DriftSignal]:
    found = []
    for index, (time, row, _) in enumerate(stationary()[:count]):
        delay = min(index / 2880, 1.0) * 100 + (row[1] or 0)
        weekend = float(index > 4 * 1440)
        moment = SignalContext(time, place(index), "v1")
        found += watching.served((row[0], delay, row[2], weekend), scores(index), moment)
    return found


def test_features_are_compared_when_their_windows_are_full_and_the_calendar_never():
    found = serve(watch(FILLING), 8 * 1440, lambda _: 0.5)
    assert found == []
    never_said = FILLING._replace(columns={name: Column(c.kind) for name, c in FILLING.columns.items()})
    assert {s.kind for s in serve(watch(never_said), 8 * 1440, lambda _: 0.5)} == {"feature"}


def test_predictions_are_compared_when_the_model_has_learned_enough_of_full_windows():
    rng = random.Random(3)

    def grows(index: int) -> float:
        return rng.random() * (0.01 if index < 3 * 1440 else 0.5)

    def first_alarm(asked: int, count: int) -> list[DriftSignal]:
        watching, found = watch(FILLING._replace(kinds=("prediction",))), []
        found += serve(watching, 3 * 1440 + PREDICTION_BATCH, grows)
        found += labels(watching, count, 0.1, asked=asked)
        for index, (time, row, _) in enumerate(stationary(20, 2)):
            later = SignalContext(time + 4 * DAY, place(index), "v1")
            score = rng.random() * (0.5 if index < 7 * 1440 else 0.1)
            found += watching.served((row[0], row[1], row[2], 0.0), score, later)
        return [signal for signal in found if signal.status == "firing"]

    (alarm,) = first_alarm(START + 2 * DAY, 1000)  # the model's start is no alarm, what comes later is
    assert alarm.kind == "prediction"
    assert alarm.since >= START + 11 * DAY - 500 * MINUTE
    assert first_alarm(START + 2 * DAY, 999) == []
    assert first_alarm(START + 2 * DAY - 1, 5000) == []


def test_the_error_of_a_prediction_whose_windows_were_not_full_is_no_concept_drift():
    def raised(asked: int) -> list[DriftSignal]:
        watching = watch(FILLING)
        serve(watching, 1, lambda _: 0.5)
        before = labels(watching, 2000, 0.1, asked=asked)
        return [*before, *labels(watching, 500, 0.5, start=2000, asked=asked)]

    assert raised(START + 2 * DAY - 1) == []
    (alarm,) = raised(START + 2 * DAY)
    assert alarm.kind == "concept"


@pytest.mark.parametrize("stop", [1000, 5000])
def test_a_watch_that_was_restored_while_windows_fill_raises_the_same(stop):
    def whole(watching: DriftMonitor, restore: bool) -> list[DriftSignal]:
        found, sealer = [], Sealer(b"s" * 32)
        for index, (time, row, score) in enumerate(changed(lambda row, s: ((row[0] + 300, *row[1:]), s / 4))):
            if restore and index == stop:
                watching = sealer.open_state(sealer.seal_state(watching))
            moment = SignalContext(time, place(index), "v1")
            found += watching.served((*row, 0.0), score, moment)
            found += watching.judged(0.0, False, time, (*row, 0.0), moment)
            watching.learned(time)
        return found

    straight = whole(watch(FILLING), restore=False)
    assert {signal.kind for signal in straight} >= {"feature", "prediction"}
    assert whole(watch(FILLING), restore=True) == straight
