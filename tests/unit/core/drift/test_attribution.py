"""Attribution drift: nDCG by tables and scikit-learn, the detector, and streams through the learner."""

from collections.abc import Iterator, Sequence
from math import log2
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import linear_model, preprocessing, tree
from sklearn.metrics import ndcg_score

from flows.core.drift.attribution import (
    LEAVES,
    RETRY,
    AttributionAlarm,
    AttributionDrift,
    RankMove,
    ndcg,
    rank_moves,
)
from flows.core.drift.features import FeaturePolicy
from flows.core.drift.levels import Cleared, Position
from flows.core.drift.monitor import MonitorSettings
from flows.core.drift.quality import Column
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.evaluation import Evaluation
from flows.core.evaluation.label_join import Label
from flows.core.learning.events import Cause
from flows.core.learning.learner import Learner
from flows.core.learning.policy import ContestPolicy, Policy
from flows.core.models.model import Model, ModelMessage, Prediction
from flows.core.models.snapshots import Sealer
from flows.core.models.tasks import BINARY
from flows.core.stream.broker import Record

PLACE = Position("p.predictions", 0, 7)
ONE_TWO_THREE = {"a": 3.0, "b": 2.0, "c": 1.0}


@pytest.mark.parametrize(
    ("gains", "scores", "expected"),
    [
        (ONE_TWO_THREE, {"a": 9.0, "b": 8.0, "c": 7.0}, 1.0),
        (
            ONE_TWO_THREE,
            {"a": 1.0, "b": 2.0, "c": 3.0},
            (1 + 2 / log2(3) + 3 / 2) / (3 + 2 / log2(3) + 1 / 2),
        ),
        ({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}, 1 / log2(3)),
        ({"a": 1.0}, {"a": 1.0, "new": 2.0}, 1 / log2(3)),  # an input that the reference lacks
        ({"a": 1.0, "gone": 1.0}, {"a": 1.0}, 1.0),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.0}, 1.0),  # of inputs that mattered the same
        ({"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 1.0}, (1 + 1 / log2(3)) / 2),
        ({"sat": 0.7, "gpa": 0.5, "rank": 0.05}, {"sat": 0.1, "gpa": 0.2, "rank": 0.7}, 0.68764),
    ],
)
def test_the_ndcg_is_that_of_its_definition(gains, scores, expected):
    assert ndcg(gains, scores) == pytest.approx(expected, abs=5e-6)


VALUES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.5, 40.0]), st.floats(0, 1e3)), min_size=2, max_size=12
).filter(lambda pairs: any(gain for gain, _ in pairs))


def named(numbers: Sequence[float]) -> dict[str, float]:
    return {f"x{at}": number for at, number in enumerate(numbers)}


@given(VALUES)
def test_the_ndcg_is_that_of_scikit_learn(pairs):
    gains, scores = zip(*pairs, strict=True)
    expected = ndcg_score(np.array([gains]), np.array([scores]))
    assert ndcg(named(gains), named(scores)) == pytest.approx(expected, rel=1e-12)


@given(VALUES)
def test_no_order_is_better_than_that_of_the_reference_and_none_is_worse_than_its_reverse(pairs):
    gains, scores = (named(each) for each in zip(*pairs, strict=True))
    reversed_ = {name: -gain for name, gain in gains.items()}
    assert ndcg(gains, gains) == 1.0
    assert 0 < ndcg(gains, reversed_) - 1e-12 <= ndcg(gains, scores) <= 1.0 + 1e-12


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_in_which_the_inputs_are_named_does_not_matter(pairs, random):
    gains, scores = (named(each) for each in zip(*pairs, strict=True))
    names = random.sample(list(gains), len(gains))
    shuffled = [{name: each[name] for name in names} for each in (gains, scores)]
    assert ndcg(*shuffled) == pytest.approx(ndcg(gains, scores), rel=1e-12)


def test_the_inputs_whose_share_changed_most_are_named_with_their_ranks():
    before = {"a": 60.0, "b": 30.0, "c": 10.0, "d": 0.0, "e": 0.0}
    after = {"a": 1.0, "b": 3.0, "c": 1.0, "d": 5.0}
    assert rank_moves(before, after) == (
        RankMove("a", 1.0, 3.5),
        RankMove("d", 4.5, 1.0),
        RankMove("c", 3.0, 3.5),
        RankMove("e", 4.5, 5.0),
    )


def test_at_most_five_inputs_are_named():
    many = {f"x{at}": float(at) for at in range(12)}
    assert len(rank_moves(many, {name: -value + 11 for name, value in many.items()})) == 5


SAME = {"a": 3.0, "b": 1.0}
OTHER = {"a": 1.0, "b": 3.0}
LOW = ndcg(SAME, OTHER)


def window(detector: AttributionDrift, inputs: dict[str, float], time: int = 0, leaves: int = 0) -> Any:
    """Fill a window of ten rows, and return what its comparison gives, or "left out"."""
    detector.add([[number] for number in range(10)], [time] * 10)
    if not detector.sample:
        return "left out"
    found = detector.compare(inputs, leaves, time, PLACE)
    return round(found.ndcg, 6) if isinstance(found, AttributionAlarm) else found


CLEARED = Cleared(PLACE)
LOWER = round(LOW, 6)


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([SAME, SAME, SAME], [None, None, None]),
        ([SAME, OTHER, SAME, SAME], [None, LOWER, CLEARED, None]),
        ([{}, OTHER], [None, *["left out"]]),  # contributions that are not known
        ([{"a": 0.0, "b": 0.0}, OTHER, SAME], [None, None, LOWER]),  # a model that has learned nothing
        ([SAME, {"a": 0.0, "b": 0.0}, OTHER], [None, None, LOWER]),
    ],
)
def test_a_window_is_compared_with_the_first_one(windows, expected):
    detector = AttributionDrift(10, 0)
    assert [window(detector, inputs) for inputs in windows] == expected


def test_after_a_signal_there_is_none_within_the_cool_down_and_the_end_is_told_once():
    detector = AttributionDrift(10, 1000)
    found = [
        window(detector, inputs, time)
        for inputs, time in [(SAME, 0), (OTHER, 1), (OTHER, 1000), (OTHER, 1001), (SAME, 1002), (OTHER, 1003)]
    ]
    assert found == [None, LOWER, None, LOWER, CLEARED, None]


def test_a_restart_begins_a_new_reference():
    detector = AttributionDrift(10, 0)
    window(detector, SAME)
    detector.add([[0]] * 4, [0] * 4)
    detector.restart()
    assert [window(detector, inputs) for inputs in (OTHER, OTHER, SAME)] == [None, None, LOWER]


def test_contributions_that_are_not_known_are_tried_again_after_some_windows():
    detector = AttributionDrift(10, 0)
    found = [window(detector, {}) for _ in range(2 * RETRY)]
    assert found == [None, *["left out"] * (RETRY - 1)] * 2


def test_after_a_window_of_large_trees_others_are_left_out():
    detector = AttributionDrift(10, 0)
    found = [window(detector, SAME, leaves=2 * LEAVES) for _ in range(6)]
    assert found == [None, "left out", "left out"] * 2


def test_trees_that_have_grown_by_more_than_half_have_a_new_reference():
    detector = AttributionDrift(10, 0)
    leaves = [(SAME, 4), (OTHER, 6), (OTHER, 7), (OTHER, 7), (SAME, 10)]
    found = [window(detector, inputs, leaves=count) for inputs, count in leaves]
    assert found == [None, LOWER, None, CLEARED, LOWER]


def test_the_sample_of_a_window_is_spread_evenly_whatever_the_batches():
    def sample(batches: Sequence[int]) -> list[int]:
        detector, first = AttributionDrift(1000, 0), 0
        for size in batches:
            assert detector.sample == ()
            detector.add([[first + number] for number in range(size)], range(first, first + size))
            first += size
        return [row[0] for row in detector.sample]

    assert sample([256, 256, 256, 256]) == list(range(0, 1024, 20))
    assert sample([1, 998, 7]) == list(range(0, 1006, 20))


NAMES = tuple(f"x{at}" for at in range(6))
WEIGHTS = (2.0, 1.5, 1.0, 0.5, 0.25, 0.0)
WINDOW = 256
MINUTE = 60_000


def linear() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def splitting() -> Any:
    return tree.HoeffdingTreeClassifier(leaf_prediction="mc", grace_period=50, tau=0.2)


def learning(estimator: Any, kinds: Sequence[Any] = ("attribution",), window: int = WINDOW) -> Learner:
    watched = MonitorSettings(
        {name: Column("number") for name in NAMES}, kinds, FeaturePolicy(window=window), warm_up=500
    )
    policy = Policy(10**12, 0.002, 500, 0, ContestPolicy(0.01, 50_000, 500), monitor=watched)
    return Learner("p", policy, NAMES, Model("v1", estimator), Evaluation(BINARY.metrics))


def rows(
    seed: int, start: int, count: int, weights: Sequence[float]
) -> Iterator[tuple[int, list[float], bool]]:
    random = Random(seed * 1_000_003 + start)
    for number in range(start, start + count):
        row = [random.gauss(0, 1) for _ in NAMES]
        total = sum(weight * value for weight, value in zip(weights, row, strict=True))
        yield number, row, total + random.gauss(0, 1) > 0


def run(
    learner: Learner, seed: int, start: int, count: int, weights: Sequence[float] = WEIGHTS
) -> list[DriftSignal]:
    events: list[Any] = []
    for number, row, truth in rows(seed, start, count, weights):
        time, name = number * MINUTE, str(number)
        prediction = Prediction(name, time, 0.5, learner.champion.version, {}, row)
        events += learner.predicted(prediction, Position("p.predictions", 0, number))
        events += learner.labelled(Label(name, time, truth, Record("labels", 0, number, time, None, b"", ())))
    return [event for event in events if isinstance(event, DriftSignal)]


@pytest.mark.parametrize("seed", range(20))
def test_without_a_change_twenty_windows_raise_nothing(seed):
    assert run(learning(linear()), seed, 0, 500 + 22 * WINDOW) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_tree_that_grows_raises_nothing(seed):
    assert run(learning(splitting(), window=1000), seed, 0, 500 + 12 * 1024) == []


@pytest.mark.parametrize("seed", range(5))
def test_other_inputs_that_matter_are_a_warning_within_six_windows(seed):
    learner = learning(linear())
    assert run(learner, seed, 0, 4096) == []
    signal, *_ = run(learner, seed, 4096, 6 * WINDOW, WEIGHTS[::-1])
    assert (signal.kind, signal.detector, signal.status) == ("attribution", "ndcg", "firing")
    assert (signal.level, signal.severity, signal.sequence) == ("warning", "warning", 1)
    assert signal.estimate_before == 1.0
    assert signal.estimate_after < 0.9
    ranks = {column.name: (column.before, column.after) for column in signal.columns}
    assert ranks["x5"][1] < ranks["x5"][0]
    assert all(before != after for before, after in ranks.values())
    assert (signal.width, signal.offset % 256) == (WINDOW, 255)
    assert signal.since == (signal.offset - WINDOW + 1) * MINUTE
    before, after = ranks["x5"]
    assert f"x5 from rank {before:g} to rank {after:g}" in signal.annotations["description"]
    assert DriftSignal.from_json(signal.to_json()) == signal


def test_inputs_that_matter_again_resolve_it():
    learner = learning(linear())
    run(learner, 1, 0, 4096)
    firing = run(learner, 1, 4096, 2048, WEIGHTS[::-1])
    *_, over = run(learner, 1, 6144, 4096)
    assert over.status == "resolved"
    assert over.labels == firing[-1].labels
    assert run(learner, 1, 10_240, 1024) == []


def test_a_promotion_resolves_it_and_begins_a_new_reference():
    learner = learning(linear())
    run(learner, 1, 0, 4096)
    assert run(learner, 1, 4096, 2048, WEIGHTS[::-1])
    other = Model("v2", linear())
    for _, row, truth in rows(3, 0, 2000, WEIGHTS[::-1]):
        other.learn(dict(zip(NAMES, row, strict=True)), truth)
    cause = Cause("command", "by a person")
    learner.challenged(ModelMessage("p", "candidate", 0, other, {}, 1), cause)
    events = learner.promote("v2", cause)
    (over,) = [event for event in events if isinstance(event, DriftSignal)]
    assert (over.kind, over.status, over.model_version) == ("attribution", "resolved", "v2")
    assert run(learner, 1, 6144, 2048, WEIGHTS[::-1]) == []


def test_it_is_not_watched_before_the_warm_up_nor_if_it_is_not_declared():
    learner = learning(linear(), kinds=("concept",))
    run(learner, 1, 0, 4096)
    assert run(learner, 1, 4096, 2048, WEIGHTS[::-1]) == []
    learner = learning(linear())
    run(learner, 1, 0, 256)
    assert run(learner, 1, 256, 250, WEIGHTS[::-1]) == []  # still within the warm-up
    assert run(learner, 1, 506, 3000, WEIGHTS[::-1]) == []


def test_models_without_exact_contributions_are_not_watched():
    learner = learning(tree.HoeffdingTreeClassifier(leaf_prediction="nb", nb_threshold=0))
    run(learner, 1, 0, 4096)
    assert run(learner, 1, 4096, 4096, WEIGHTS[::-1]) == []


def test_a_few_enormous_values_are_no_drift():
    def spiked(learner: Learner, start: int) -> list[DriftSignal]:
        events: list[Any] = []
        for number, row, truth in rows(1, start, 1024, WEIGHTS):
            if number % 64 == 0:
                row[5] = 1e6
            time, name = number * MINUTE, str(number)
            place = Position("p.predictions", 0, number)
            events += learner.predicted(Prediction(name, time, 0.5, "v1", {}, row), place)
            record = Record("labels", 0, number, time, None, b"", ())
            events += learner.labelled(Label(name, time, truth, record))
        return [event for event in events if isinstance(event, DriftSignal)]

    learner = learning(linear())
    assert run(learner, 1, 0, 2048) == []
    assert spiked(learner, 2048) == []


@pytest.mark.parametrize("stop", [700, 4096 + 300, 5500])
def test_a_learner_that_was_stored_and_restored_raises_the_same(stop):
    def whole(restore: bool) -> list[DriftSignal]:
        learner, found = learning(linear()), []
        for start in range(0, 6144, 4):
            if restore and start == stop:
                sealer = Sealer(b"s" * 32, [linear()], states=[Evaluation(BINARY.metrics)])
                learner = sealer.open_state(sealer.seal_state(learner))
            found += run(learner, 1, start, 4, WEIGHTS if start < 4096 else WEIGHTS[::-1])
        return found

    straight = whole(restore=False)
    assert straight
    assert whole(restore=True) == straight
