"""The learner: each label is scored, tested for drift, learned, and used in the contest."""

import random
import re
from collections.abc import Iterator, Sequence
from itertools import cycle, islice, repeat
from math import exp, log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from river import linear_model, metrics, preprocessing

from flows.core.drift.concept import ConceptAlarm, ConceptDrift
from flows.core.drift.levels import Position
from flows.core.drift.signal import DriftSignal, signal_id
from flows.core.evaluation.evaluation import Evaluation
from flows.core.evaluation.label_join import Joined, Label
from flows.core.learning import learner as module
from flows.core.learning.candidates import recent
from flows.core.learning.candidates.cuts import ASSUMED, Cut
from flows.core.learning.events import (
    Cause,
    DeadLabel,
    LearnerEvent,
    LearningFailure,
    Outlier,
    RoleChange,
)
from flows.core.learning.learner import NOWHERE, Learner
from flows.core.learning.policy import ContestPolicy, Policy
from flows.core.models.model import Model, ModelMessage, Prediction
from flows.core.models.snapshots import Sealer
from flows.core.models.tasks import TASKS
from flows.core.stream.broker import Record
from flows.errors import RoleError, StaleSnapshot

NAMES = ("a", "b")
START = 1_357_000_000_000
CONTESTS = ContestPolicy(significance=0.05, patience=400, block=10, challengers=1)
POLICY = Policy(label_wait=10**9, delta=0.002, warm_up=100, cool_down=0, contests=CONTESTS)
ALARM, COMMAND = Cause("alarm", "a test"), Cause("command", "ann: a test")
FIRST = Cause("first", "a test")


class Notebook:
    """An estimator that writes down what it was taught, and cannot learn a null."""

    def __init__(self) -> None:
        self.lessons: list[tuple[dict[str, Any], bool]] = []

    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        return {True: 0.5}

    def learn_one(self, features: dict[str, Any], truth: bool) -> None:
        if features["a"] is None:
            raise TypeError("no number")
        self.lessons.append((features, truth))


def estimator() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def learner(champion: Any = None, policy: Policy = POLICY) -> Learner:
    make = lambda: metrics.ROCAUC(n_thresholds=20) + metrics.LogLoss()  # noqa: E731
    return Learner("p", policy, NAMES, Model("v1", champion or estimator()), Evaluation(make))


def prediction(event_id: str, score: Any = 0.5, time: int = START, **more: Any) -> Prediction:
    served = {"version": "v1", "shadows": {}, "features": [1.0, 2.0], **more}
    return Prediction(event_id, time, score, served["version"], served["shadows"], served["features"])


def label(event_id: str, truth: bool = True, time: int = START, offset: int = 0) -> Label:
    return Label(event_id, time, truth, Record("labels", 0, offset, time, None, b"{}", ()))


def challenge(version: str, estimator: Any = None, **lineage: Any) -> ModelMessage:
    return ModelMessage("p", "challenger", START, Model(version, estimator or Notebook(), 9), lineage, 1)


def shadows(learning: Learner) -> list[str]:
    return [rival.model.version for rival in learning.roles.rivals]


def join(learning: Learner, event_id: str, truth: bool = True, **served: Any) -> list[LearnerEvent]:
    return [
        *learning.predicted(prediction(event_id, **served)),
        *learning.labelled(label(event_id, truth)),
    ]


def test_each_label_judges_the_served_score_first_then_feeds_the_detector_and_is_learned_last(monkeypatch):
    order = []

    class Judge(Evaluation):
        def update(self, joined: Joined) -> None:
            order.append(("evaluate", joined.pending.prediction.score))

    class Detector(ConceptDrift):
        def update(
            self, error: float, wrong: bool, time: int, position: Position, slices: Sequence[Any]
        ) -> None:
            order.append(("detect", error, wrong, time, position))

    class Pupil(Notebook):
        def learn_one(self, features: dict[str, Any], truth: bool) -> None:
            order.append("learn")

    monkeypatch.setattr(module, "ConceptDrift", Detector)
    learning = Learner("p", POLICY, NAMES, Model("v1", Pupil()), Judge(metrics.LogLoss))
    join(learning, "a", truth=False, score=0.25)
    detected = ("detect", 0.0625, False, START, Position("labels", 0, 0))
    assert order == [("evaluate", 0.25), detected, "learn"]


def test_what_is_learned_is_what_was_served_whichever_of_prediction_and_label_comes_first():
    learning = learner(Notebook())
    list(learning.labelled(label("early", truth=False)))
    list(learning.predicted(prediction("late", features=[3, "x"])))
    list(learning.predicted(prediction("early", features=[5, None])))
    list(learning.labelled(label("late", truth=True)))
    assert learning.champion.estimator.lessons == [({"a": 5, "b": None}, False), ({"a": 3, "b": "x"}, True)]
    assert (learning.champion.learned, learning.evaluation.labels, learning.pending) == (2, 2, 0)


def test_the_score_that_is_judged_is_the_one_that_was_served_and_never_computed_again():
    rng = random.Random(1)
    learning, metric = learner(), metrics.LogLoss()
    for number in range(200):
        score, truth = rng.random(), rng.random() < 0.4
        join(learning, str(number), truth, score=score)
        metric.update(truth, score)
    assert learning.evaluation.values()["model"]["LogLoss"] == metric.get()


def test_the_baselines_answer_when_the_prediction_is_served_with_the_labels_known_by_then():
    learning, majority, no_change = learner(), metrics.LogLoss(), metrics.LogLoss()
    join(learning, "a", truth=True)
    list(learning.predicted(prediction("b")))
    join(learning, "c", truth=False)
    list(learning.labelled(label("b", truth=False)))
    for truth, share, last in ((True, 0.5, 0.0), (False, 1.0, 1.0), (False, 1.0, 1.0)):
        majority.update(truth, share)
        no_change.update(truth, last)
    values = learning.evaluation.values()
    assert values["majority"]["LogLoss"] == majority.get()
    assert values["no-change"]["LogLoss"] == no_change.get()


@pytest.mark.parametrize(("truth", "reason"), [(True, "duplicate"), (False, "corrected")])
def test_a_second_label_is_a_dead_letter_and_is_learned_once(truth, reason):
    learning = learner(Notebook())
    join(learning, "a")
    again = label("a", truth=truth, offset=7)
    assert list(learning.labelled(again)) == [
        DeadLabel(again.record, reason, "a label for 'a' was already received")
    ]
    assert learning.champion.learned == 1


def test_a_label_whose_event_never_came_is_a_dead_letter_when_the_wait_is_over():
    learning = learner(policy=POLICY._replace(label_wait=1000))
    unknown = label("x", time=START)
    list(learning.labelled(unknown))
    assert list(learning.predicted(prediction("later", time=START + 1000))) == []
    (dead,) = learning.predicted(prediction("latest", time=START + 1001))
    assert (dead.record, dead.reason) == (unknown.record, "unknown-event")
    assert (learning.expired, learning.pending) == (0, 2)


def test_what_no_label_came_for_is_learned_with_the_default_label_and_a_later_one_is_a_correction():
    learning = learner(policy=POLICY._replace(label_wait=1000, default_label=False))
    list(learning.predicted(prediction("a", time=START)))
    list(learning.predicted(prediction("b", time=START + 1)))
    late = label("a", time=START + 1001, truth=True)
    (dead,) = learning.labelled(late)
    assert (dead.record, dead.reason) == (late.record, "corrected")
    assert (learning.assumed, learning.expired, learning.pending) == (1, 0, 1)
    assert (learning.evaluation.labels, learning.champion.learned) == (1, 1)
    assert learning.learned_until == START + 1000


def test_a_label_that_comes_after_its_prediction_expired_is_not_learned():
    learning = learner(policy=POLICY._replace(label_wait=1000))
    list(learning.predicted(prediction("a", time=START)))
    assert list(learning.labelled(label("a", time=START + 1001))) == []
    assert (learning.expired, learning.pending, learning.evaluation.labels) == (1, 0, 0)
    (dead,) = learning.predicted(prediction("b", time=START + 2002))
    assert dead.reason == "unknown-event"


def test_a_label_that_the_model_cannot_learn_is_a_dead_letter_and_the_next_one_is_learned():
    learning = learner(Notebook())
    (dead,) = join(learning, "a", features=[None, 1])
    assert dead.reason == "model"
    assert re.fullmatch(
        r"model v1 cannot learn it: TypeError: no number \(test_learner.py, line \d+, in learn_one\)",
        dead.detail,
    )
    assert str(dead.error) == "no number"
    assert join(learning, "b") == []
    assert (learning.champion.learned, learning.evaluation.labels) == (1, 2)


def test_a_challenger_that_cannot_learn_does_not_keep_the_champion_from_learning():
    class Stubborn(Notebook):
        def learn_one(self, features: dict[str, Any], truth: bool) -> None:
            raise ValueError("no")

    learning = learner(Notebook())
    learning.challenged(challenge("v2", Stubborn()), ALARM)
    (dead,) = join(learning, "a")
    assert dead.detail.startswith("model v2 cannot learn it: ValueError: no (test_learner.py, line ")
    assert learning.champion.learned == 1


def test_a_prediction_made_with_another_feature_plan_is_judged_and_not_learned():
    learning = learner(Notebook())
    (dead,) = join(learning, "a", features=[1.0, 2.0, 3.0])
    assert (dead.reason, dead.detail) == ("model", "its prediction was made with another feature plan")
    assert (learning.champion.learned, learning.evaluation.labels) == (0, 1)


def test_the_newest_event_time_and_that_of_the_last_label_never_go_back():
    learning = learner()
    list(learning.predicted(prediction("a", time=START + 50)))
    list(learning.labelled(label("a", time=START + 20)))
    list(learning.predicted(prediction("b", time=START + 10)))
    list(learning.labelled(label("b", time=START + 15)))
    assert (learning.now, learning.learned_until) == (START + 50, START + 20)


def test_a_challenger_learns_on_from_where_it_comes_in():
    learning = learner(Notebook())
    join(learning, "a")
    message = challenge("v2", parent="v1")
    assert learning.challenged(message, ALARM) == [RoleChange("challenger", message.model, ALARM)]
    join(learning, "b")
    assert shadows(learning) == ["v2"]
    assert (learning.champion.learned, message.model.learned) == (2, 10)
    assert learning.lineage == {"v1": {}, "v2": {"parent": "v1"}}


def watched(**contests: Any) -> Policy:
    return POLICY._replace(contests=CONTESTS._replace(probation=100, **contests))


def test_the_winner_of_the_first_search_replaces_the_declared_model_which_stays_on_watch():
    learning = learner(Notebook(), watched())
    old, message = learning.champion, challenge("v2", parent="v1", cause="first")
    assert learning.challenged(message, FIRST) == [
        RoleChange("challenger", message.model, FIRST),
        RoleChange("champion", message.model, FIRST),
        RoleChange("challenger", old, FIRST),
    ]
    assert (learning.champion, shadows(learning)) == (message.model, ["v1"])
    join(learning, "a")
    assert (old.learned, message.model.learned) == (1, 10)


def test_the_declared_model_wins_its_place_back_if_it_is_better_than_the_winner_of_the_first_search():
    learning = learner(Notebook(), watched())
    learning.challenged(challenge("v2", cause="first"), FIRST)
    rng, back = random.Random(2), list[LearnerEvent]()
    for number in range(100):
        served, shadow = (score + rng.uniform(-0.05, 0.05) for score in (0.6, 0.8))
        back += join(learning, str(number), score=served, version="v2", shadows={"v1": shadow})
    (promoted, retired) = back
    assert (promoted.role, promoted.model.version, promoted.cause.kind) == ("champion", "v1", "probation")
    assert (retired.role, retired.model.version) == ("retired", "v2")


@pytest.mark.parametrize("contests", [{"approval": True}, {"canary": 0.1, "canary_labels": 50}])
def test_where_a_winner_is_not_promoted_at_once_that_of_the_first_search_is_a_challenger(contests):
    learning = learner(Notebook(), watched(**contests))
    learning.challenged(challenge("v2", cause="first"), FIRST)
    assert (learning.champion.version, shadows(learning)) == ("v1", ["v2"])


def test_the_winner_of_the_first_search_does_not_replace_a_frozen_model():
    learning = learner(Notebook(), watched())
    learning.freeze(COMMAND)
    learning.challenged(challenge("v2", cause="first"), FIRST)
    assert (learning.champion.version, shadows(learning)) == ("v1", ["v2"])


def test_the_winner_of_the_first_search_has_a_contest_with_a_model_that_was_trained_for_another_cause():
    learning = learner(Notebook(), POLICY)
    learning.challenged(challenge("v2", cause="alarm"), ALARM)
    learning.promote("v2", COMMAND)
    learning.challenged(challenge("v3", cause="first"), FIRST)
    assert (learning.champion.version, shadows(learning)) == ("v2", ["v3"])


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_our_own_snapshots_that_come_back_on_the_topic_change_nothing(version):
    learning = learner(Notebook())
    learning.challenged(challenge("v2"), ALARM)
    learning.challenged(challenge("v3"), ALARM)
    join(learning, "a", shadows={"v3": 0.6})
    champion, (rival,) = learning.champion, learning.roles.challengers
    assert learning.challenged(challenge(version), ALARM) == []
    assert (learning.champion, learning.roles.challengers) == (champion, [rival])
    assert (champion.version, rival.model.version, rival.contest.labels) == ("v1", "v3", 1)


def contested(learning: Learner, champion: float, challenger: float) -> Iterator[LearnerEvent]:
    """Every event comes true; both models say so with these probabilities, a little off."""
    rng = random.Random(2)
    for number in range(1000):
        scores = [score + rng.uniform(-0.05, 0.05) for score in (champion, challenger)]
        yield from join(learning, str(number), score=scores[0], shadows={"v2": scores[1]})


def test_a_challenger_whose_served_scores_are_better_becomes_champion_and_the_champion_is_retired():
    learning = learner(Notebook())
    old = learning.champion
    message = challenge("v2")
    learning.challenged(message, ALARM)
    promoted, retired = islice(contested(learning, champion=0.6, challenger=0.8), 2)
    assert (promoted.role, promoted.model, retired.role, retired.model) == (
        "champion",
        message.model,
        "retired",
        old,
    )
    assert (learning.champion, shadows(learning)) == (message.model, [])
    assert 100 <= learning.evaluation.labels < 400


def test_a_challenger_whose_served_scores_are_worse_is_retired():
    learning = learner(Notebook())
    learning.challenged(challenge("v2"), ALARM)
    (retired,) = contested(learning, champion=0.8, challenger=0.6)
    assert (retired.role, retired.model.version) == ("retired", "v2")
    assert (learning.champion.version, shadows(learning)) == ("v1", [])


def test_a_challenger_that_is_no_better_is_retired_when_patience_is_out():
    learning = learner(Notebook())
    learning.challenged(challenge("v2"), ALARM)
    settled = []
    for number in range(CONTESTS.patience):
        assert settled == []
        settled += join(learning, str(number), score=0.7, shadows={"v2": 0.7})
    assert [(s.role, s.model.version) for s in settled] == [("retired", "v2")]


def test_only_events_that_the_champion_answered_and_the_challenger_shadowed_are_compared():
    learning = learner(Notebook())
    learning.challenged(challenge("v2"), ALARM)
    join(learning, "before it came in", shadows={})
    join(learning, "another challenger", shadows={"v0": 0.9})
    join(learning, "another champion", version="v0", shadows={"v2": 0.9})
    (rival,) = learning.roles.challengers
    assert rival.contest.labels == 0
    join(learning, "both", shadows={"v2": 0.9})
    assert rival.contest.labels == 1


def test_a_rise_of_the_error_is_signalled_with_the_place_of_the_label_that_raised_it():
    rng = random.Random(3)
    learning, signals = learner(Notebook()), []
    for number in range(1200):
        truth = rng.random() < (0.1 if number < 600 else 0.9)
        time = START + number * 1000
        list(learning.predicted(prediction(str(number), 0.1, time)))
        truth_known = label(str(number), truth, time + 5, offset=number)
        signals += [(number, happening) for happening in learning.labelled(truth_known)]
    number, signal = signals[0]
    assert 600 < number < 700
    assert isinstance(signal, DriftSignal)
    assert signal.id == signal_id(
        "p", "concept", "adwin", signal.severity, "firing", ("labels", 0, number), signal.since
    )
    assert (signal.pipeline, signal.model_version, signal.sequence) == ("p", "v1", 1)
    assert (signal.topic, signal.partition, signal.offset) == ("labels", 0, number)
    assert signal.time == START + number * 1000 + 5
    assert signal.since <= signal.time
    assert signal.estimate_before < signal.estimate_after
    assert [s.sequence for _, s in signals] == list(range(1, len(signals) + 1))
    assert DriftSignal.from_json(signal.to_json()) == signal


@pytest.mark.parametrize("detector", ["ddm", "page_hinkley"])
def test_the_declared_detector_raises_the_signals(detector):
    rng = random.Random(4)
    learning = learner(Notebook(), POLICY._replace(detector=detector))
    signals = []
    for number in range(1200):
        signals += join(learning, str(number), rng.random() < (0.1 if number < 600 else 0.9), score=0.1)
    assert {signal.detector for signal in signals} == {detector}
    assert signals[0].id == signal_id(
        "p", "concept", detector, signals[0].severity, "firing", ("labels", 0, 0), signals[0].since
    )
    assert DriftSignal.from_json(signals[0].to_json()) == signals[0]


def test_a_warning_of_the_detector_is_a_signal_that_is_no_alarm(monkeypatch):
    class Wary(ConceptDrift):
        def update(
            self, error: float, wrong: bool, time: int, position: Position, slices: Sequence[Any]
        ) -> ConceptAlarm:
            return ConceptAlarm("warning", 0.1, 0.2, 5, time, position)

    monkeypatch.setattr(module, "ConceptDrift", Wary)
    (signal,) = join(learner(Notebook()), "a")
    assert (signal.kind, signal.level, signal.severity) == ("concept", "warning", "warning")


class Flow:
    """Drives a learner as the flow does: predictions, labels some events later, and a challenger."""

    def __init__(self) -> None:
        self.learner = learner()
        self.scores: list[float] = []
        self.happenings: list[Any] = []

    def event(self, number: int) -> None:
        rng = random.Random(number)
        features = [rng.gauss(0, 1), rng.gauss(3, 2)]
        learning = self.learner
        if number == 900:
            learning.challenged(challenge("v2", estimator(), since="then"), ALARM)
        x = dict(zip(NAMES, features, strict=True))
        score = learning.champion.score(x)
        scores = {rival.model.version: rival.model.score(x) for rival in learning.roles.rivals}
        served = Prediction(str(number), START + number, score, learning.champion.version, scores, features)
        self.scores.append(score)
        self.say(learning.predicted(served))
        if number >= 20:
            self.say(learning.labelled(self.label(number - 20)))

    @staticmethod
    def label(number: int) -> Label:
        rng = random.Random(number)
        a, _ = rng.gauss(0, 1), rng.gauss(3, 2)
        slope = 3 if number < 800 else -3  # the world turns round
        return label(
            str(number), rng.random() < 1 / (1 + exp(-slope * a)), START + number + 20, offset=number
        )

    def say(self, happenings: Iterator[LearnerEvent]) -> None:
        for happening in happenings:
            shown = (
                (happening.role, happening.model.version) if isinstance(happening, RoleChange) else happening
            )
            self.happenings.append(shown)

    def state(self) -> Any:
        learning = self.learner
        return (
            learning.evaluation.values(),
            learning.champion.version,
            learning.champion.learned,
            learning.champion.estimator["LogisticRegression"].weights,
            shadows(learning),
            (learning.pending, learning.expired, learning.now, learning.learned_until),
        )


EVENTS = 1500
UNINTERRUPTED = Flow()
for n in range(EVENTS):
    UNINTERRUPTED.event(n)


def test_the_uninterrupted_run_had_drift_a_challenger_and_an_end_of_the_contest():
    kinds = [h.kind if isinstance(h, DriftSignal) else h for h in UNINTERRUPTED.happenings]
    assert kinds[0] == "concept"
    assert ("champion", "v2") in kinds
    assert shadows(UNINTERRUPTED.learner) == []


@hypothesis_settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, EVENTS - 1), min_size=1, max_size=3, unique=True))
def test_a_learner_that_was_stored_and_restored_ends_as_if_it_had_never_stopped(stops):
    flow = Flow()
    for number in range(EVENTS):
        if number in stops:
            sealer = Sealer(b"s" * 32, [Notebook()])
            flow.learner = sealer.open_state(sealer.seal_state(flow.learner))
        flow.event(number)
    assert flow.scores == UNINTERRUPTED.scores
    assert flow.happenings == UNINTERRUPTED.happenings
    assert flow.state() == UNINTERRUPTED.state()


def drifting() -> Learner:
    """A learner with an open signal of concept drift."""
    learning, rng = learner(Notebook()), random.Random(3)
    for number in range(900):
        truth = rng.random() < (0.1 if number < 600 else 0.9)
        join(learning, f"before {number}", truth, score=0.1)
    return learning


def test_labels_that_wait_are_learned_by_the_champion_before_another_one_takes_its_place():
    learning, events = learner(Notebook()), []
    before = learning.champion
    learning.add_prediction(prediction("a"), NOWHERE, events)
    learning.add_label(label("a"), events)
    learning.roll_back(Model("v2", Notebook()), {}, COMMAND)
    assert (before.learned, learning.champion.learned) == (1, 0)


def test_after_a_rollback_the_learner_goes_on_from_the_old_state_and_the_model_before_learns_in_the_shadow():
    learning, old = learner(Notebook()), Model("v2", Notebook(), learned=40)
    before = learning.champion
    events = learning.roll_back(old, {"parent": "v1", "state": "v0"}, COMMAND)
    assert events == [RoleChange("champion", old, COMMAND), RoleChange("challenger", before, COMMAND)]
    join(learning, "a", version="v2")
    assert (learning.champion, old.learned, before.learned) == (old, 41, 1)
    assert learning.lineage["v2"] == {"parent": "v1", "state": "v0"}
    assert learning.retire("v1", COMMAND) == [RoleChange("retired", before, COMMAND)]
    assert shadows(learning) == []


@pytest.mark.parametrize("old", [Model("v1", Notebook()), Model("v2", Notebook(), task=TASKS["regression"])])
def test_a_rollback_to_a_known_version_or_another_task_is_refused_and_changes_nothing(old):
    learning = learner(Notebook())
    champion = learning.champion
    with pytest.raises(RoleError, match="a rollback must be to a new version of task 'binary', got 'v"):
        learning.roll_back(old, {}, COMMAND)
    assert (learning.champion, shadows(learning), list(learning.lineage)) == (champion, [], ["v1"])


def test_a_new_champion_ends_the_signals_of_the_one_before_at_the_place_of_the_command():
    learning, place = drifting(), Position("commands", 0, 7)
    learning.challenged(challenge("v2"), ALARM)
    promoted, resolved, *_ = learning.promote("v2", COMMAND, place)
    assert promoted == RoleChange("champion", learning.champion, COMMAND)
    assert (resolved.status, resolved.model_version) == ("resolved", "v2")
    assert (resolved.topic, resolved.offset, resolved.time) == ("commands", 7, learning.now)


def test_the_winner_of_the_first_search_ends_the_signals_of_the_declared_model_at_the_place_of_its_record():
    learning, place = drifting(), Position("models", 0, 7)
    _, _, resolved, *_ = learning.challenged(challenge("v2"), FIRST, place=place)
    assert (resolved.status, resolved.model_version) == ("resolved", "v2")
    assert (resolved.topic, resolved.offset, resolved.time) == ("models", 7, learning.now)


def test_a_frozen_champion_is_evaluated_and_does_not_learn_until_it_is_unfrozen():
    learning = learner(Notebook())
    learning.freeze(COMMAND)
    join(learning, "a")
    assert (learning.champion.learned, learning.evaluation.labels, learning.steps) == (0, 1, 1)
    learning.unfreeze(COMMAND)
    join(learning, "b")
    assert learning.champion.learned == 1


def test_labels_before_a_freeze_are_learned_and_those_after_it_are_not():
    learning, events = learner(Notebook()), []
    for name in "abcdefghijkl":
        learning.add_prediction(prediction(name), NOWHERE, events)
        learning.add_label(label(name), events)
        if name == "c":
            learning.freeze(COMMAND)
    learning.learn(events)
    assert (learning.champion.learned, learning.evaluation.labels) == (3, 12)


def test_a_restored_learner_keeps_its_roles_and_takes_the_rules_of_the_current_declaration():
    learning = learner(Notebook(), POLICY._replace(contests=CONTESTS._replace(probation=400, challengers=3)))
    for version in ("v2", "v3", "v4"):
        learning.challenged(challenge(version), ALARM)
    learning.promote("v2", COMMAND)
    learning.freeze(COMMAND)
    sealer = Sealer(b"s" * 32, [Notebook()])
    restored = sealer.open_state(sealer.seal_state(learning))
    assert (restored.champion.version, shadows(restored)) == ("v2", ["v3", "v4", "v1"])
    assert (restored.roles.is_frozen, restored.roles.former.model.version) == (True, "v1")
    now = CONTESTS._replace(significance=0.01, challengers=9)
    restored.redeclare(100, "clip", now)
    restored.challenged(challenge("v5"), ALARM)
    assert shadows(restored) == ["v3", "v4", "v5", "v1"]
    assert restored.roles.gates["v5"][-1].required == pytest.approx(-log(0.01 / 12))  # the third of v2


class Detector:
    """A detector of anomalies that keeps what it learned and flags what is above 0.5."""

    def __init__(self) -> None:
        self.lessons: list[Any] = []

    def score_one(self, features: dict[str, Any]) -> float:
        return float(features["a"])

    def classify(self, score: float) -> bool:
        return score > 0.5

    def learn_one(self, features: dict[str, Any]) -> None:
        self.lessons.append(features)


STRANGE, USUAL = {"score": 0.9, "anomaly": 1.0}, {"score": 0.1, "anomaly": 0.0}
ANOMALY = TASKS["anomaly"]


def watching() -> Learner:
    model = Model("v1", Detector(), task=ANOMALY)
    return Learner("p", POLICY, NAMES, model, Evaluation(ANOMALY.metrics, ANOMALY))


def test_a_detector_of_anomalies_learns_what_was_served_at_once_and_is_judged_when_a_label_comes():
    learning = watching()
    assert list(learning.predicted(prediction("a", STRANGE, START + 7, features=[0.9, 2.0]))) == []
    assert learning.champion.estimator.lessons == [{"a": 0.9, "b": 2.0}]
    assert (learning.champion.learned, learning.steps, learning.learned_until) == (1, 1, START + 7)
    assert learning.evaluation.labels == 0
    assert list(learning.labelled(label("a", True))) == []
    assert (learning.champion.learned, learning.steps, learning.evaluation.labels) == (1, 2, 1)
    assert learning.evaluation.values()["model"]["Precision"] == 1.0


def test_what_a_detector_of_anomalies_cannot_learn_is_told_with_its_prediction():
    learning = watching()
    assert list(learning.predicted(prediction("a", USUAL, features=[0.1]))) == [
        LearningFailure("its prediction was made with another feature plan")
    ]
    (unlearned,) = learning.predicted(prediction("b", USUAL, features=["text", 1.0]))
    assert unlearned.detail.startswith("model v1 cannot learn it: ValueError")
    assert learning.champion.learned == 0


def test_of_two_detectors_of_anomalies_the_one_with_fewer_wrong_flags_is_promoted():
    learning = watching()
    message = ModelMessage("p", "challenger", START, Model("v2", Detector(), 9, ANOMALY), {}, 1)
    learning.challenged(message, ALARM)
    happened: list[LearnerEvent] = []
    for number in range(CONTESTS.block * 40):
        truth = number % 3 == 0
        right, wrong = (STRANGE, USUAL) if truth else (USUAL, STRANGE)
        served = wrong if number % 2 else right
        event = prediction(str(number), served, shadows={"v2": right}, features=[0.1, 1.0])
        happened += [*learning.predicted(event), *learning.labelled(label(str(number), truth))]
        if not learning.roles.challengers:
            break
    roles = [(each.role, each.model.version) for each in happened if isinstance(each, RoleChange)]
    assert roles == [("champion", "v2"), ("retired", "v1")]
    assert learning.champion.learned == 9 + number + 1


class BlockFlow(Flow):
    """Drives a learner whose models learn some labels at once, before anything else reads them."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.learner = learner(policy=policy)

    def run(self, sizes: Iterator[int]) -> None:
        due = next(sizes)
        for number in range(EVENTS):
            events: list[LearnerEvent] = []
            if number == 900:
                self.say(self.learner.challenged(challenge("v2", estimator(), since="then"), ALARM))
            self.learner.add_prediction(self.served(number), Position("predictions", 0, number), events)
            if number >= 20:
                self.learner.add_label(self.label(number - 20), events)
            due -= 1
            if due == 0 or number == EVENTS - 1:
                self.learner.learn(events)
                due = next(sizes)
            self.say(iter(events))

    def served(self, number: int) -> Prediction:
        rng = random.Random(number)
        a, b = rng.gauss(0, 1), rng.gauss(3, 2)
        score, shadows = 1 / (1 + exp(-3 * a)), {"v2": 0.5} if number > 900 else {}
        features: list[Any] = [a if number % 300 else 1e6, b]
        if number % 251 == 0:
            features = [float("nan"), 1.0]
        elif number % 271 == 0:
            features = [1.0, 2.0, 3.0]  # of another feature plan
        return Prediction(
            str(number), START + number, score, self.learner.champion.version, shadows, features
        )


@pytest.mark.parametrize("outliers", ["clip", "skip", "learn"])
def test_how_many_labels_the_models_learn_at_once_changes_nothing(outliers):
    ends = []
    for sizes in (repeat(1), repeat(250), cycle([3, 40, 9])):
        flow = BlockFlow(POLICY._replace(outliers=outliers))
        flow.run(iter(sizes))
        records = [h for h in flow.happenings if not isinstance(h, Outlier)]
        dead = [h.record.offset for h in records if isinstance(h, DeadLabel)]
        others = [h for h in records if not isinstance(h, DeadLabel)]
        found = [h.id for h in flow.happenings if isinstance(h, Outlier)]
        state = Sealer(b"s" * 32, [Notebook()])._state_pickling.dumps(flow.learner)
        ends.append((dead, others, found, flow.state(), state))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][0]
    assert any(isinstance(h, DriftSignal) for h in ends[0][1])


def test_a_learner_with_labels_still_to_learn_cannot_be_stored():
    learning = learner()
    learning.predicted(prediction("a"))
    learning.add_label(label("a"), [])
    with pytest.raises(AssertionError, match="call `learn`"):
        learning.__getstate__()


CUT = Cut(since=START, labels={0: 2}, predictions={0: 9})


def learned_labels(learning: Learner, count: int) -> None:
    for offset in range(count):
        learning.predicted(prediction(str(offset), features=[float(offset), 1.0]))
        learning.labelled(label(str(offset), offset=offset))


def test_a_challenger_first_learns_the_labels_since_its_training():
    learning, challenger = learner(), challenge("v2")
    learned_labels(learning, 4)
    assert [event for event in learning.challenged(challenger, ALARM, CUT) if isinstance(event, RoleChange)]
    assert [features["a"] for features, _ in challenger.model.estimator.lessons] == [2.0, 3.0]
    learned = challenger.model.learned
    learning.predicted(prediction("next"))
    learning.labelled(label("next", offset=4))
    assert (learned, challenger.model.learned) == (11, 12)


def test_the_challengers_outliers_are_clipped_and_change_no_range_twice():
    learning, challenger = learner(), challenge("v2")
    learned_labels(learning, 50)
    learning.predicted(prediction("far", features=[1e9, 1.0]))
    learning.labelled(label("far", offset=50))
    before = learning.outliers.rows
    learning.challenged(challenger, ALARM, CUT._replace(labels={0: 50}))
    ((features, _),) = challenger.model.estimator.lessons
    assert features["a"] < 100
    assert learning.outliers.rows == before == 1


def test_what_a_challenger_cannot_learn_when_it_catches_up_is_told():
    learning = learner(champion=Notebook())
    learning.predicted(prediction("bad", features=[None, 1.0]))
    learning.labelled(label("bad", offset=7))
    events = learning.challenged(challenge("v2"), ALARM, CUT)
    (failure,) = (event for event in events if isinstance(event, LearningFailure))
    assert failure.detail.startswith("model v2 cannot learn it: TypeError: no number (test_learner.py")


def test_a_challenger_that_misses_forgotten_labels_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recent, "KEPT", 3)
    monkeypatch.setattr(recent, "_SLACK", 1)
    learning = learner()
    learned_labels(learning, 10)
    with pytest.raises(StaleSnapshot, match="must miss none of the labels before the last 3, got v2"):
        learning.challenged(challenge("v2"), ALARM, CUT)
    assert shadows(learning) == []


def test_default_labels_and_events_without_labels_are_learned_by_a_challenger_that_misses_them():
    learning = learner(policy=POLICY._replace(label_wait=10, default_label=False))
    challenger = challenge("v2")
    for number in range(4):
        learning.predicted(prediction(str(number), time=START + 20 * number, features=[float(number), 1.0]))
    learning.challenged(challenger, ALARM, Cut(START, {ASSUMED: START + 30}, {0: 9}))
    assert [features["a"] for features, _ in challenger.model.estimator.lessons] == [1.0, 2.0]
