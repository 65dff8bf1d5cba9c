"""The concept drift detectors, compared with River's own and with a full record of the errors."""

import pickle
import random
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

import pytest
from river.drift import ADWIN, KSWIN, PageHinkley
from river.drift.binary import DDM, EDDM, FHDDM, HDDMA, HDDMW

from flows.core.drift.concept import ConceptAlarm, ConceptDrift
from flows.core.drift.error_windows import BLOCK
from flows.core.drift.levels import Cleared, Detector, Position
from flows.core.models.snapshots import Sealer
from flows.errors import ConfigError

MINUTE = 60_000
RIVERS = {
    "adwin": ADWIN,
    "ddm": DDM,
    "eddm": EDDM,
    "hddm_a": HDDMA,
    "hddm_w": HDDMW,
    "page_hinkley": lambda: PageHinkley(mode="up"),
    "kswin": lambda: KSWIN(seed=0),
}
BINARY = ("ddm", "eddm", "hddm_a", "hddm_w")


def adwin(delta: float = 0.002, warm_up: int = 0, cool_down: int = 0) -> ConceptDrift:
    return ConceptDrift("adwin", {"delta": delta}, warm_up, cool_down)


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


def run(
    detector: ConceptDrift, stream: Sequence[float], at: Sequence[int], start: int = 0
) -> list[tuple[int, ConceptAlarm]]:
    found = [
        detector.update(error, error > 0.5, time, Position("labels", 0, index))
        for index, (error, time) in enumerate(zip(stream, at, strict=True), start)
    ]
    return [(index, alarm) for index, alarm in enumerate(found, start) if isinstance(alarm, ConceptAlarm)]


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
    alarms = run(adwin(), stream, at)
    rises = [c for c in cuts(stream, 0.002) if mean(stream, c.kept) > mean(stream, c.dropped)]
    assert [index for index, _ in alarms] == [cut.index for cut in rises]
    for (index, alarm), cut in zip(alarms, rises, strict=True):
        whole = range(cut.dropped.start, index + 1)
        place = index + 1 - alarm.width
        # the sums are of 16 labels at most, in windows of this length
        assert (
            contrast(stream, whole, place) >= max(contrast(stream, whole, at) for at in whole[16::16]) * 0.999
        )
        assert alarm.before == pytest.approx(mean(stream, range(whole.start, place)))
        assert alarm.after == pytest.approx(mean(stream, range(place, whole.stop)))
        assert alarm.position == Position("labels", 0, index)
        assert alarm.since == at[place]
    return rises


def contrast(stream: Sequence[float], whole: range, place: int) -> float:
    """How significant the rise of the mean at a place is."""
    before, after = range(whole.start, place), range(place, whole.stop)
    return (len(before) * len(after)) ** 0.5 * (mean(stream, after) - mean(stream, before))


def mean(stream: Sequence[float], window: range) -> float:
    return fmean(stream[window.start : window.stop])


@pytest.mark.parametrize("seed", range(10))
def test_a_rise_of_the_error_raises_an_alarm_soon_after_it(seed):
    stream = errors(seed, (3000, 0.2), (3000, 0.4))
    alarms = run(adwin(), stream, range(6000))
    (index, alarm) = alarms[0]
    assert 3000 < index < 3500
    assert alarm.before == pytest.approx(0.2, abs=0.04)
    assert alarm.after > 0.3
    assert 2900 <= alarm.since <= index


@pytest.mark.parametrize("seed", range(10))
def test_a_model_that_gets_better_is_no_alarm(seed):
    stream = errors(seed, (2000, 0.5), (2000, 0.3), (2000, 0.1))
    assert cuts(stream, 0.002)  # ADWIN itself fires
    assert run(adwin(), stream, range(6000)) == []


def test_an_error_that_stays_as_it_is_is_hardly_ever_an_alarm():
    raised = [bool(run(adwin(), errors(seed, (4000, 0.25)), range(4000))) for seed in range(40)]
    assert sum(raised) <= 2


def test_no_alarm_is_raised_before_the_warm_up_is_over():
    stream = errors(1, (300, 0.1), (3000, 0.6))
    free = run(adwin(), stream, range(3300))
    first = free[0][0]
    assert first < 500
    in_warm_up = run(adwin(warm_up=first + 2, cool_down=0), stream, range(3300))
    just_over = run(adwin(warm_up=first + 1, cool_down=0), stream, range(3300))
    assert first not in [index for index, _ in in_warm_up]
    assert just_over == free


def test_after_an_alarm_there_is_none_until_the_cool_down_is_over_in_event_time():
    stream = errors(2, (1500, 0.1), (1500, 0.3), (1500, 0.6), (1500, 0.9))
    at = [1000 * index for index in range(len(stream))]
    free = run(adwin(), stream, at)
    assert len(free) >= 3
    gap = at[free[1][0]] - at[free[0][0]]
    exact = run(adwin(warm_up=0, cool_down=gap), stream, at)
    longer = run(adwin(warm_up=0, cool_down=gap + 1), stream, at)
    assert exact[1] == free[1]
    assert free[1] not in longer
    assert longer[1] == free[2]


def test_a_fall_of_the_error_starts_no_cool_down():
    stream = errors(3, (1500, 0.5), (1500, 0.1), (1500, 0.5))
    alarms = run(adwin(warm_up=0, cool_down=10**9), stream, range(4500))
    assert len(alarms) == 1
    assert alarms[0][0] > 3000


@pytest.mark.parametrize("stop", [1, 31, 32, 33, 1700, 3010])
def test_a_detector_that_was_stored_and_restored_goes_on_as_if_never_stopped(stop):
    stream = errors(4, (1500, 0.2), (1500, 0.5), (1500, 0.8))
    at = times(4500)
    uninterrupted = run(adwin(warm_up=100, cool_down=MINUTE), stream, at)
    detector = adwin(warm_up=100, cool_down=MINUTE)
    before = run(detector, stream[:stop], at[:stop])
    restored = pickle.loads(pickle.dumps(detector))  # noqa: S301 (just made)
    after = run(restored, stream[stop:], at[stop:], stop)
    assert before + after == uninterrupted
    assert uninterrupted


def test_what_a_detector_remembers_is_bounded_however_long_nothing_happens():
    detector = adwin()
    run(detector, errors(5, (60_000, 0.1)), range(60_000))
    assert len(pickle.dumps(detector)) < 20_000


@pytest.mark.parametrize("name", RIVERS)
def test_each_detector_raises_its_alarms_at_the_labels_at_which_rivers_own_finds_a_drift(name):
    labels = 100 if name == "kswin" else 1000  # it takes its time
    stream, river = errors(6, (labels, 0.2), (labels, 0.45), (labels, 0.9)), RIVERS[name]()
    found = []
    for index, error in enumerate(stream):
        river.update(error)
        if river.drift_detected:
            found.append(index)
    alarms = [index for index, alarm in alarmed(name, stream)]
    assert alarms
    if name in ("adwin", "kswin", "eddm"):  # these fire without a rise, too
        assert set(alarms) <= set(found)
    else:
        assert alarms == found


@pytest.mark.parametrize("name", BINARY)
def test_a_binary_detector_is_told_whether_the_answer_was_wrong_and_not_by_how_much(name):
    bits = errors(7, (1500, 0.1), (1500, 0.5))
    graded = [0.9 if bit else 0.3 for bit in bits]
    assert [index for index, _ in alarmed(name, graded)] == [index for index, _ in alarmed(name, bits)]
    assert alarmed(name, bits)


@pytest.mark.parametrize("name", sorted(set(RIVERS) - set(BINARY)))
def test_the_other_detectors_are_told_the_error_itself(name):
    rng = random.Random(8)
    graded = [rng.uniform(0.0, 0.2) for _ in range(200)] + [rng.uniform(0.25, 0.45) for _ in range(500)]
    assert alarmed(name, graded)  # no answer is wrong here


@pytest.mark.parametrize("name", RIVERS)
def test_no_detector_alarms_when_the_error_falls_and_stays_low(name):
    rng = random.Random(9)
    fall = errors(9, (300, 0.9)) + [float(rng.random() < 0.02) for _ in range(100)]
    assert [index for index, _ in alarmed(name, fall) if index >= 300] == []


@pytest.mark.parametrize(("make", "bad"), [(DDM, 1), (EDDM, 1), (HDDMA, 1), (HDDMW, 1), (FHDDM, 0)])
def test_rivers_binary_detectors_want_one_for_an_error_but_for_fhddm(make, bad):
    rises, falls = errors(10, (2000, 0.1), (2000, 0.6)), errors(10, (2000, 0.6), (2000, 0.1))
    assert detections(make(), [error == bad for error in rises], 2000)
    assert not detections(make(), [error == bad for error in falls], 2000)


def test_ddm_fires_at_the_first_error_after_a_beginning_without_any():
    assert detections(DDM(), [False] * 31 + [True], 0) == [31]


@pytest.mark.parametrize("name", sorted(set(RIVERS) - {"adwin"}))  # which has its own window: see above
@pytest.mark.parametrize("seed", range(3))
def test_an_alarm_says_when_the_error_rose_and_from_what_to_what(name, seed):
    stream = errors(seed, (20, 0.5), (280, 0.05), (200, 0.9))
    alarms = [(index, alarm) for index, alarm in alarmed(name, stream) if index >= 300]
    index, alarm = alarms[0]
    window = range(index + 1 - alarm.width, index + 1)
    assert alarm.since == window.start
    assert alarm.after == pytest.approx(mean(stream, window))
    assert alarm.before < 0.35 < alarm.after
    assert 200 <= alarm.since <= 320


def test_an_alarm_is_over_once_when_the_error_is_back():
    stream = errors(12, (2000, 0.1), (2000, 0.4), (4000, 0.1))
    detector, found = ConceptDrift("adwin", {}, 0, 10**9), {}
    for index, error in enumerate(stream):
        seen = detector.update(error, error > 0.5, index, Position("labels", 0, index))
        if seen is not None:
            found[index] = seen
    alarm, over = found
    assert 2000 < alarm < 4000
    assert 4000 < over <= 4000 + 2 * BLOCK
    assert found[over] == Cleared(Position("labels", 0, over))


def test_an_alarm_is_not_over_while_the_error_stays():
    stream = errors(13, (2000, 0.1), (6000, 0.4))
    detector = ConceptDrift("adwin", {}, 0, 10**9)
    found = [
        detector.update(error, error > 0.5, index, Position("labels", 0, index))
        for index, error in enumerate(stream)
    ]
    assert [type(seen) for seen in found if seen is not None] == [ConceptAlarm]


@pytest.mark.parametrize("name", BINARY)
def test_the_warning_of_a_detector_comes_before_its_alarm_and_once(name):
    stream = errors(11, (2000, 0.1), (2000, 0.3))
    river, warned = RIVERS[name](), []
    for index, error in enumerate(stream):
        before = river.warning_detected
        river.update(error)
        if river.warning_detected and not before:
            warned.append(index)
    everything = run(ConceptDrift(name, {}, 0, 0), stream, range(4000))
    warnings = [index for index, alarm in everything if alarm.level == "warning"]
    assert warnings
    assert set(warnings) <= set(warned)
    seldom = run(ConceptDrift(name, {}, 0, 10**9), stream, range(4000))
    levels = [alarm.level for _, alarm in seldom]
    assert levels in (["warning", "alarm"], ["warning"])


@pytest.mark.parametrize("name", RIVERS)
def test_every_detector_survives_the_sealed_snapshot_of_the_learner(name):
    stream, sealer = errors(12, (300, 0.1), (300, 0.9)), Sealer(b"s" * 32)
    detector = ConceptDrift(name, {}, 50, 0)
    before = run(detector, stream[:310], range(310))
    restored = sealer.open_state(sealer.seal_state(detector))
    after = run(restored, stream[310:], range(310, 600), 310)
    uninterrupted = run(ConceptDrift(name, {}, 50, 0), stream, range(600))
    assert before + after == uninterrupted
    assert uninterrupted


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cusum", {}, "no drift detector 'cusum'; declare one of adwin, ddm"),
        ("ddm", {"delta": 0.1}, "drift detector 'ddm': "),
        ("eddm", {"alpha": 0.1}, "'alpha' must be greater"),
    ],
)
def test_a_detector_that_river_does_not_have_is_refused(name, options, said):
    with pytest.raises(ConfigError) as error:
        ConceptDrift(name, options, 0, 0)
    assert said in str(error.value)


@pytest.mark.parametrize("seed", range(3))
def test_an_alarm_names_the_slices_in_which_the_error_rose_most_and_by_how_much(seed):
    rng = random.Random(seed)
    detector = ConceptDrift("adwin", {"delta": 0.002}, 0, 0, slices=["carrier", "month"])
    record, alarm = [], None
    for index in range(4000):
        carrier = rng.choice(["UA", "AA", "DL", "B6"])
        error = float(rng.random() < (0.9 if carrier == "AA" and index >= 2000 else 0.1))
        record.append((carrier, error))
        alarm = detector.update(error, error > 0.5, index, Position("labels", 0, index), [carrier, 1])
        if alarm:
            break
    assert alarm is not None
    first = alarm.slices[0]
    assert (first.column, first.value) == ("carrier", "AA")
    kept = cuts([error for _, error in record], 0.002)[-1].kept.start  # there are rows enough since then
    own = [[error for who, error in part if who == "AA"] for part in (record[:kept], record[kept:])]
    # its sums are of blocks of 16 labels at most, one of which may lie across the change
    assert abs(first.rows - len(own[1])) < 16
    assert first.before == pytest.approx(fmean(own[0]), abs=0.05)
    assert first.after == pytest.approx(fmean(own[1]), abs=0.1)
    rises = [each.after - each.before for each in alarm.slices]
    assert rises == sorted(rises, reverse=True)
    assert min(rises) > 0


def test_slices_beyond_the_first_hundred_cost_nothing():
    detector = ConceptDrift("adwin", {"delta": 0.002}, 0, 0, slices=["order"])
    for index in range(3000):
        detector.update(0.0, False, index, Position("labels", 0, index), [f"order-{index}"])
    assert len(pickle.dumps(detector)) < 60_000


def alarmed(name: Detector, stream: Sequence[float]) -> list[tuple[int, ConceptAlarm]]:
    found = run(ConceptDrift(name, {}, 0, 0), stream, range(len(stream)))
    return [(index, alarm) for index, alarm in found if alarm.level == "alarm"]


def detections(river: Any, bits: Sequence[bool], start: int) -> list[int]:
    found = []
    for index, bit in enumerate(bits):
        river.update(bit)
        if river.drift_detected and index >= start:
            found.append(index)
    return found
