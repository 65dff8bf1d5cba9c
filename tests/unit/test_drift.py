"""The concept drift detector, against River's ADWIN and a record of every error and time."""

import pickle
import random
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import pytest
from river.drift import ADWIN

from flows.core.drift import Alarm, ConceptDrift

NEVER_MIND = {"warm_up": 0, "cool_down": 0}
MINUTE = 60_000


def errors(seed: int, *phases: tuple[int, float]) -> list[float]:
    """For each phase a number of labels, and the rate at which they show an error of 1."""
    rng = random.Random(seed)
    return [float(rng.random() < rate) for labels, rate in phases for _ in range(labels)]


def times(count: int, seed: int = 0) -> list[int]:
    """Event times that stand still, run and sometimes go back."""
    rng = random.Random(seed)
    now, out = 1_357_000_000_000, []
    for _ in range(count):
        now += rng.choice([0, 0, 1, MINUTE, 10 * MINUTE])
        out.append(now - rng.choice([0, 0, MINUTE]))
    return out


def run(detector: ConceptDrift, stream: Sequence[float], at: Sequence[int]) -> list[tuple[int, Alarm]]:
    found = [detector.update(error, time) for error, time in zip(stream, at, strict=True)]
    return [(index, alarm) for index, alarm in enumerate(found) if alarm is not None]


class Cut(NamedTuple):
    """What ADWIN itself found at a label: the window it dropped and the one it kept, as indices."""

    index: int
    dropped: range
    kept: range


def cuts(stream: Sequence[float], delta: float) -> list[Cut]:
    adwin, found, start = ADWIN(delta=delta), [], 0
    for index, error in enumerate(stream):
        adwin.update(error)
        if adwin.drift_detected:
            kept = range(index + 1 - int(adwin.width), index + 1)
            found.append(Cut(index, range(start, kept.start), kept))
            start = index + 1  # River begins anew after a detection
    return found


@pytest.mark.parametrize("seed", range(8))
def test_an_alarm_says_what_a_full_record_of_errors_and_times_says(seed):
    stream = errors(seed, (1500, 0.2), (1500, 0.45), (1000, 0.1), (1500, 0.35), (700, 0.8))
    at = times(len(stream), seed)
    assert len(check(stream, at)) >= 2


@pytest.mark.parametrize("steady", range(18, 130, 7))
def test_an_alarm_in_the_first_labels_says_so_too(steady):
    stream = [0.0] * steady + [1.0] * 200
    assert len(check(stream, times(len(stream)))) == 1


def check(stream: Sequence[float], at: Sequence[int]) -> list[Cut]:
    alarms = run(ConceptDrift(0.002, **NEVER_MIND), stream, at)
    rises = [c for c in cuts(stream, 0.002) if mean(stream, c.kept) > mean(stream, c.dropped)]
    assert [index for index, _ in alarms] == [cut.index for cut in rises]
    for (_, alarm), cut in zip(alarms, rises, strict=True):
        assert alarm.width == len(cut.kept)
        assert alarm.before == pytest.approx(mean(stream, cut.dropped))
        assert alarm.after == pytest.approx(mean(stream, cut.kept))
        # the time is kept of every 32nd label: the last of those at or before the first one kept
        assert alarm.since == at[cut.kept.start - cut.kept.start % 32]
    return rises


def mean(stream: Sequence[float], window: range) -> float:
    return fmean(stream[window.start : window.stop])


@pytest.mark.parametrize("seed", range(10))
def test_a_rise_of_the_error_raises_an_alarm_soon_after_it(seed):
    stream = errors(seed, (3000, 0.2), (3000, 0.4))
    alarms = run(ConceptDrift(0.002, **NEVER_MIND), stream, range(6000))
    (index, alarm) = alarms[0]
    assert 3000 < index < 3500
    assert alarm.before == pytest.approx(0.2, abs=0.04)
    assert alarm.after > alarm.before
    assert 0 < alarm.since <= 3000  # the window kept reaches back to before the change


@pytest.mark.parametrize("seed", range(10))
def test_a_model_that_gets_better_is_no_alarm(seed):
    stream = errors(seed, (2000, 0.5), (2000, 0.3), (2000, 0.1))
    assert cuts(stream, 0.002)  # ADWIN itself fires
    assert run(ConceptDrift(0.002, **NEVER_MIND), stream, range(6000)) == []


def test_an_error_that_stays_as_it_is_is_hardly_ever_an_alarm():
    alarmed = [
        bool(run(ConceptDrift(0.002, **NEVER_MIND), errors(seed, (4000, 0.25)), range(4000)))
        for seed in range(100)
    ]
    assert sum(alarmed) <= 3


def test_no_alarm_is_raised_before_the_warm_up_is_over():
    stream = errors(1, (300, 0.1), (3000, 0.6))
    free = run(ConceptDrift(0.002, **NEVER_MIND), stream, range(3300))
    first = free[0][0]
    assert first < 500
    in_warm_up = run(ConceptDrift(0.002, warm_up=first + 2, cool_down=0), stream, range(3300))
    just_over = run(ConceptDrift(0.002, warm_up=first + 1, cool_down=0), stream, range(3300))
    assert first not in [index for index, _ in in_warm_up]
    assert just_over == free


def test_after_an_alarm_there_is_none_until_the_cool_down_is_over_in_event_time():
    stream = errors(2, (1500, 0.1), (1500, 0.3), (1500, 0.6), (1500, 0.9))
    at = [1000 * index for index in range(len(stream))]
    free = run(ConceptDrift(0.002, **NEVER_MIND), stream, at)
    assert len(free) >= 3
    gap = at[free[1][0]] - at[free[0][0]]
    exact = run(ConceptDrift(0.002, warm_up=0, cool_down=gap), stream, at)
    longer = run(ConceptDrift(0.002, warm_up=0, cool_down=gap + 1), stream, at)
    assert exact[1] == free[1]
    assert free[1] not in longer
    assert longer[1] == free[2]


def test_a_fall_of_the_error_starts_no_cool_down():
    stream = errors(3, (1500, 0.5), (1500, 0.1), (1500, 0.5))
    alarms = run(ConceptDrift(0.002, warm_up=0, cool_down=10**9), stream, range(4500))
    assert len(alarms) == 1
    assert alarms[0][0] > 3000


@pytest.mark.parametrize("stop", [1, 31, 32, 33, 1700, 3010])
def test_a_detector_that_was_stored_and_restored_goes_on_as_if_never_stopped(stop):
    stream = errors(4, (1500, 0.2), (1500, 0.5), (1500, 0.8))
    at = times(4500)
    uninterrupted = run(ConceptDrift(0.002, 100, MINUTE), stream, at)
    detector = ConceptDrift(0.002, 100, MINUTE)
    before = run(detector, stream[:stop], at[:stop])
    restored = pickle.loads(pickle.dumps(detector))  # noqa: S301 (just made)
    after = [(index + stop, alarm) for index, alarm in run(restored, stream[stop:], at[stop:])]
    assert before + after == uninterrupted
    assert uninterrupted


def test_what_a_detector_remembers_of_the_times_stays_in_proportion_to_its_window():
    detector = ConceptDrift(0.002, **NEVER_MIND)
    run(detector, errors(5, (3000, 0.1), (3000, 0.9)), range(6000))
    assert len(detector._marks) <= 6000 / 32 + 1
    run(detector, errors(5, (3000, 0.1), (64, 0.9)), range(3064))
    assert len(pickle.dumps(detector)) < 20_000
