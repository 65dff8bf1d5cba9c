"""The roles of models: one champion, several challengers, probation, rollback, frozen champions."""

from collections.abc import Sequence
from itertools import islice
from math import log
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.core.learning.contest import spent
from flows.core.learning.events import Cause, CauseKind, ContestWon, FreezeChange, RoleChange, RoleEvent
from flows.core.learning.policy import ContestPolicy
from flows.core.learning.roles import Roles
from flows.core.models.model import Model, Prediction
from flows.errors import RoleError

POLICY = ContestPolicy(significance=0.05, patience=2000, block=10, probation=400)
COMMAND, ALARM = Cause("command", "ann: a test"), Cause("alarm", "a test")


def model(version: str) -> Model:
    return Model(version, estimator=None)


def roles(*challengers: str, policy: ContestPolicy = POLICY) -> Roles:
    made = Roles(model("v1"), policy)
    for version in challengers:
        made.challenge(model(version), ALARM)
    return made


def changes(events: list[RoleEvent]) -> list[tuple[str, str, str]]:
    """The events as what became of which version, and why."""
    found = []
    for event in events:
        what = event.role if isinstance(event, RoleChange) else type(event).__name__
        found.append((what, event.model.version, event.cause.kind))
    return found


def shadow(of: Roles) -> list[str]:
    return [rival.model.version for rival in of.rivals]


class World:
    """Events that all come true; each model gives them its own probability, a little off."""

    def __init__(self, **probabilities: float) -> None:
        self.probabilities = probabilities
        self.off = 0.05
        self._rng = Random(2)

    def label(self, of: Roles) -> list[RoleEvent]:
        """Compare the models on one event."""
        scores = {
            version: probability + self._rng.uniform(-self.off, self.off)
            for version, probability in self.probabilities.items()
        }
        champion = of.champion.version
        shadows = {version: scores[version] for version in shadow(of) if version in scores}
        return of.compare(Prediction("a", 0, scores[champion], champion, shadows, []), True)

    def until(self, of: Roles, labels: int = 5000) -> list[RoleEvent]:
        """Compare the models on events until something is decided."""
        for _ in range(labels):
            if events := self.label(of):
                return events
        return []


def test_as_many_challengers_as_declared_are_in_the_shadow_and_in_a_contest_at_once() -> None:
    made = roles("v2", "v3", "v4")
    World(v1=0.6, v2=0.6, v3=0.6, v4=0.6).label(made)
    assert shadow(made) == ["v2", "v3", "v4"]
    assert [rival.contest.labels for rival in made.rivals] == [1, 1, 1]
    assert [each.version for each in made.learning] == ["v1", "v2", "v3", "v4"]


def test_a_challenger_that_finds_no_place_takes_that_of_the_one_with_the_worst_evidence() -> None:
    made, world = roles("v2", "v3", "v4"), World(v1=0.6, v2=0.6, v3=0.58, v4=0.61)
    for _ in range(60):
        assert world.label(made) == []
    evidence = {rival.model.version: rival.contest.evidence for rival in made.rivals}
    assert min(evidence, key=lambda version: evidence[version]) == "v3"
    events = made.challenge(model("v5"), ALARM)
    assert changes(events) == [("retired", "v3", "replaced"), ("challenger", "v5", "alarm")]
    assert events[0].cause.why == "v5 took the place of v3"
    assert shadow(made) == ["v2", "v4", "v5"]


def test_of_challengers_without_evidence_the_oldest_gives_way() -> None:
    made = roles("v2", "v3", "v4", "v5")
    assert shadow(made) == ["v3", "v4", "v5"]


def test_each_further_challenger_of_a_champion_needs_more_evidence_than_the_one_before() -> None:
    made = roles("v2", "v3")
    made.retire("v2", COMMAND)
    made.challenge(model("v4"), ALARM)
    required = [made.gates[version][-1].required for version in ("v3", "v4")]
    assert required == [-log(spent(0.05, 2)), -log(spent(0.05, 3))]


@given(st.integers(1, 10_000))
def test_all_contests_of_a_champion_together_spend_at_most_its_significance(contests: int) -> None:
    total = sum(spent(0.05, number) for number in range(1, contests + 1))
    assert total == pytest.approx(0.05 * contests / (contests + 1))


def test_a_better_challenger_is_promoted_and_the_champion_before_stays_on_watch_in_the_shadow() -> None:
    made = roles("v2", "v3")
    events = World(v1=0.6, v2=0.8, v3=0.6).until(made)
    assert changes(events) == [("champion", "v2", "contest"), ("challenger", "v1", "contest")]
    cause = events[0].cause
    assert cause.why == "v2 has a lower loss than v1"
    assert cause.figures["gain"] > 0
    assert cause.figures["log_likelihood_ratio"] > cause.figures["threshold"] == -log(spent(0.05, 1))
    assert (made.champion.version, shadow(made)) == ("v2", ["v3", "v1"])


def test_without_probation_the_champion_before_is_retired_at_once() -> None:
    made = roles("v2", policy=POLICY._replace(probation=0))
    events = World(v1=0.6, v2=0.8).until(made)
    assert changes(events) == [("champion", "v2", "contest"), ("retired", "v1", "contest")]
    assert shadow(made) == []


def test_a_new_champion_begins_new_contests_with_the_challengers_that_stay() -> None:
    made, world = roles("v2", "v3"), World(v1=0.6, v2=0.8, v3=0.6)
    world.until(made)
    assert [rival.contest.labels for rival in made.rivals] == [0, 0]
    assert made.gates["v3"][-1].required == -log(spent(0.05, 1))


def test_of_two_challengers_that_win_at_the_same_label_the_one_with_the_larger_gain_is_promoted() -> None:
    made = roles("v2", "v3", policy=POLICY._replace(minimum_labels=300))
    events = World(v1=0.6, v2=0.8, v3=0.9).until(made)
    assert changes(events)[0] == ("champion", "v3", "contest")
    assert shadow(made) == ["v2", "v1"]


def test_a_promoted_model_that_turns_out_worse_gives_way_to_the_champion_before() -> None:
    made, world = roles("v2"), World(v1=0.6, v2=0.8)
    world.until(made)
    world.probabilities = {"v1": 0.8, "v2": 0.6}
    events = world.until(made)
    assert changes(events) == [("champion", "v1", "probation"), ("retired", "v2", "probation")]
    assert events[0].cause.why == "v1 has a lower loss than its successor v2"
    assert (made.champion.version, shadow(made), made.former) == ("v1", [], None)


def test_a_promoted_model_that_stays_better_ends_its_probation_early() -> None:
    made, world = roles("v2"), World(v1=0.6, v2=0.8)
    world.until(made)
    (retired,) = world.until(made)
    assert changes([retired]) == [("retired", "v1", "probation")]
    assert retired.cause.why == "v1 has a higher loss than its successor v2"
    assert retired.cause.figures["labels"] < POLICY.probation
    assert (made.champion.version, made.is_alone) == ("v2", True)


def test_a_probation_without_a_decision_ends_after_the_declared_labels() -> None:
    made, world = roles("v2"), World(v1=0.6, v2=0.8)
    world.until(made)
    world.probabilities = {"v1": 0.7, "v2": 0.7}
    world.off = 0.0
    (retired,) = world.until(made)
    assert changes([retired]) == [("retired", "v1", "probation")]
    assert (retired.cause.why, retired.cause.figures["labels"]) == (
        "v1 has no lower loss than its successor v2",
        POLICY.probation,
    )


def test_a_promotion_during_a_probation_ends_it_and_begins_the_next() -> None:
    made, world = roles("v2", "v3"), World(v1=0.6, v2=0.8, v3=0.6)
    world.until(made)
    world.probabilities = {"v1": 0.8, "v2": 0.8, "v3": 0.95}
    events = world.until(made)
    assert changes(events) == [
        ("champion", "v3", "contest"),
        ("retired", "v1", "replaced"),
        ("challenger", "v2", "contest"),
    ]
    assert made.former is not None
    assert made.former.model.version == "v2"


def test_a_gain_below_the_minimum_effect_promotes_nobody() -> None:
    made = roles("v2", policy=POLICY._replace(minimum_effect=0.5))
    (retired,) = World(v1=0.6, v2=0.8).until(made)
    assert changes([retired]) == [("retired", "v2", "contest")]
    assert retired.cause.figures["labels"] == POLICY.patience
    assert 0 < retired.cause.figures["gain"] < 0.5


def test_nobody_is_promoted_before_the_minimum_of_labels_was_compared() -> None:
    made = roles("v2", policy=POLICY._replace(minimum_labels=777))
    (promoted, _) = World(v1=0.6, v2=0.8).until(made)
    assert promoted.cause.figures["labels"] == 780  # the end of a block


def test_a_won_contest_waits_for_a_person_if_the_declaration_says_so() -> None:
    made, world = roles("v2", policy=POLICY._replace(approval=True)), World(v1=0.6, v2=0.8)
    (won,) = world.until(made)
    assert isinstance(won, ContestWon)
    assert changes([won]) == [("ContestWon", "v2", "contest")]
    for _ in range(POLICY.patience):
        assert world.label(made) == []
    assert (made.champion.version, made.challengers[0].awaits_approval) == ("v1", True)
    assert changes(made.promote("v2", COMMAND)) == [
        ("champion", "v2", "command"),
        ("challenger", "v1", "command"),
    ]


def test_the_way_back_of_a_probation_needs_no_approval() -> None:
    made, world = roles("v2", policy=POLICY._replace(approval=True)), World(v1=0.8, v2=0.6)
    made.promote("v2", COMMAND)
    assert changes(world.until(made)) == [("champion", "v1", "probation"), ("retired", "v2", "probation")]


def test_the_dry_run_shows_each_gate_of_a_challenger_and_whether_it_is_passed() -> None:
    policy = POLICY._replace(minimum_labels=150, minimum_effect=0.9)
    made, world = roles("v2", policy=policy), World(v1=0.6, v2=0.8)
    for _ in range(140):
        world.label(made)
    labels, gain, evidence = made.gates["v2"]
    assert labels == ("labels", 140, 150, False)
    assert gain[0::2] == ("gain", 0.9)
    assert not gain.passed
    assert gain.value == pytest.approx(log(0.8) - log(0.6), abs=0.02)
    assert evidence[0] == "log_likelihood_ratio"
    assert evidence.passed
    assert evidence.value > evidence.required == -log(spent(0.05, 1))


def test_a_model_that_is_not_in_the_shadow_is_neither_promoted_nor_retired() -> None:
    made = roles("v2", "v3")
    for refused in (made.promote, made.retire):
        with pytest.raises(RoleError, match=r"got 'v9', which is not; use one of: 'v2', 'v3'"):
            refused("v9", COMMAND)
        with pytest.raises(RoleError, match=r"got 'v1', which is the champion; use one of: 'v2', 'v3'"):
            refused("v1", COMMAND)
    with pytest.raises(RoleError, match="use one of: none"):
        roles().retire("v2", COMMAND)
    assert (made.champion.version, shadow(made)) == ("v1", ["v2", "v3"])


def test_the_champion_before_can_be_retired_which_ends_the_probation() -> None:
    made = roles("v2")
    made.promote("v2", COMMAND)
    assert changes(made.retire("v1", COMMAND)) == [("retired", "v1", "command")]
    assert made.is_alone


def test_after_a_rollback_the_champion_before_is_in_the_shadow_and_wins_only_with_approval() -> None:
    made, world = roles(), World(v1=0.8, v2=0.6)
    assert changes(made.roll_back(model("v2"), COMMAND)) == [
        ("champion", "v2", "command"),
        ("challenger", "v1", "command"),
    ]
    assert changes(world.until(made)) == [("ContestWon", "v1", "contest")]
    assert made.champion.version == "v2"


def test_a_rollback_during_a_probation_ends_it() -> None:
    made = roles("v2")
    made.promote("v2", COMMAND)
    assert changes(made.roll_back(model("v3"), COMMAND)) == [
        ("champion", "v3", "command"),
        ("retired", "v1", "replaced"),
        ("challenger", "v2", "command"),
    ]
    assert (made.former, shadow(made)) == (None, ["v2"])


def test_a_frozen_champion_does_not_learn_and_the_models_in_the_shadow_do() -> None:
    made = roles("v2")
    (frozen,) = made.freeze(COMMAND)
    assert frozen == FreezeChange(True, made.champion, COMMAND)
    assert [each.version for each in made.learning] == ["v2"]
    (learning,) = made.unfreeze(COMMAND)
    assert learning == FreezeChange(False, made.champion, COMMAND)
    assert [each.version for each in made.learning] == ["v1", "v2"]


def test_a_contest_does_not_replace_a_frozen_champion_and_a_person_does() -> None:
    made, world = roles("v2"), World(v1=0.6, v2=0.8)
    made.freeze(COMMAND)
    assert changes(world.until(made)) == [("ContestWon", "v2", "contest")]
    made.promote("v2", COMMAND)
    assert [each.version for each in made.learning] == ["v2", "v1"]


def test_a_champion_is_frozen_once_and_unfrozen_once() -> None:
    made = roles()
    with pytest.raises(RoleError, match="'v1' is learning already; nothing was changed"):
        made.unfreeze(COMMAND)
    made.freeze(COMMAND)
    with pytest.raises(RoleError, match="'v1' is frozen already; nothing was changed"):
        made.freeze(COMMAND)


def test_only_events_that_were_served_by_the_champion_are_compared() -> None:
    made = roles("v2")
    made.compare(Prediction("a", 0, 0.5, "v0", {"v2": 0.9}, []), True)
    made.compare(Prediction("b", 0, 0.5, "v1", {"v3": 0.9}, []), True)
    assert made.challengers[0].contest.labels == 0
    made.compare(Prediction("c", 0, 0.5, "v1", {"v2": 0.9}, []), True)
    assert made.challengers[0].contest.labels == 1


def test_fewer_declared_challengers_leave_places_when_the_next_one_comes() -> None:
    made = roles("v2", "v3", "v4")
    made.policy = POLICY._replace(challengers=2)
    assert changes(made.challenge(model("v5"), ALARM))[:2] == [
        ("retired", "v2", "replaced"),
        ("retired", "v3", "replaced"),
    ]
    assert shadow(made) == ["v4", "v5"]


CANARY = POLICY._replace(canary=0.1, canary_labels=200)


def test_a_winner_is_the_canary_first_and_champion_if_it_is_still_better_at_the_end() -> None:
    made, world = roles("v2", policy=CANARY), World(v1=0.6, v2=0.8)
    (canary,) = world.until(made)
    assert isinstance(canary, RoleChange)
    assert (canary.role, canary.model.version) == ("challenger", "v2")
    assert made.shares == {"v2": canary.cause.figures["share"]} == {"v2": 0.1}
    assert canary.cause.why == "v2 has a lower loss than v1; it is served to 10.0% of the entities first"
    events = world.until(made)
    assert changes(events) == [("champion", "v2", "contest"), ("challenger", "v1", "contest")]
    assert events[0].cause.figures["labels"] == canary.cause.figures["labels"] + 200


def test_events_that_the_canary_answered_are_compared_with_the_champion_in_the_shadow() -> None:
    made, world = roles("v2", policy=CANARY), World(v1=0.6, v2=0.8)
    world.until(made)
    compared, gain = made.challengers[0].contest.labels, made.challengers[0].contest.gain
    for _ in range(10):
        made.compare(Prediction("a", 0, 0.9, "v2", {"v1": 0.1}, []), True)
    assert made.challengers[0].contest.labels == compared + 10
    assert made.challengers[0].contest.gain > gain


def test_a_canary_that_turns_out_worse_is_retired_before_its_end() -> None:
    made = roles("v2", policy=CANARY._replace(canary_labels=5000))
    world = World(v1=0.6, v2=0.8)
    world.until(made)
    world.probabilities = {"v1": 0.99, "v2": 0.4}
    (retired,) = world.until(made)
    assert changes([retired]) == [("retired", "v2", "contest")]
    assert retired.cause.figures["labels"] < 5000
    assert made.is_alone


def test_a_second_winner_waits_until_the_canary_is_decided() -> None:
    made, world = roles("v2", "v3", policy=CANARY._replace(canary_labels=600)), World(v1=0.6, v2=0.7, v3=0.62)
    assert changes(world.until(made)) == [("challenger", "v2", "canary")]
    world.probabilities["v3"] = 0.9
    events = world.until(made)
    assert changes(events)[:2] == [("champion", "v2", "contest"), ("challenger", "v1", "contest")]
    assert made.challengers[0].contest.labels == 0


def test_another_champion_ends_the_canary() -> None:
    made = roles("v2", policy=CANARY)
    World(v1=0.6, v2=0.8).until(made)
    made.roll_back(model("v9"), COMMAND)
    assert [(rival.model.version, rival.share) for rival in made.rivals] == [("v2", 0.0), ("v1", 0.0)]


def test_a_canary_is_promoted_to_all_by_a_person_at_any_time() -> None:
    made = roles("v2", policy=CANARY)
    World(v1=0.6, v2=0.8).until(made)
    assert changes(made.promote("v2", COMMAND))[0] == ("champion", "v2", "command")


TRIAL = POLICY._replace(trial=1000)


def on_trial(*others: str, policy: ContestPolicy = TRIAL) -> Roles:
    """The first candidate of an alarm, v2, is champion; v1 was champion before it."""
    made = roles(policy=policy)
    assert changes(made.challenge(model("v2"), ALARM)) == [
        ("challenger", "v2", "alarm"),
        ("champion", "v2", "alarm"),
        ("challenger", "v1", "alarm"),
    ]
    for version in others:
        made.challenge(model(version), ALARM)
    return made


def test_the_first_candidate_of_an_alarm_is_champion_at_once_and_the_others_are_challengers() -> None:
    made = on_trial("v3")
    assert (made.champion.version, shadow(made)) == ("v2", ["v3", "v1"])
    assert made.former is not None
    assert made.former.model.version == "v1"


@pytest.mark.parametrize("kind", ["schedule", "floor", "command"])
def test_a_candidate_without_an_alarm_is_a_challenger(kind: CauseKind) -> None:
    made = roles(policy=TRIAL)
    made.challenge(model("v2"), Cause(kind, "a test"))
    assert (made.champion.version, shadow(made)) == ("v1", ["v2"])


@pytest.mark.parametrize("declared", [{"approval": True}, {"canary": 0.1}, {"probation": 0}, {"trial": 0}])
def test_there_is_no_trial_where_a_person_or_a_canary_decides_or_without_a_probation(declared: dict) -> None:
    assert roles("v2", policy=TRIAL._replace(**declared)).champion.version == "v1"


def test_a_frozen_champion_is_not_replaced_by_an_alarm() -> None:
    made = roles(policy=TRIAL)
    made.freeze(COMMAND)
    made.challenge(model("v2"), ALARM)
    assert made.champion.version == "v1"


def test_a_trial_turns_back_within_few_labels_if_the_model_before_is_better() -> None:
    made, world = on_trial(), World(v1=0.9, v2=0.5)
    events = world.until(made, labels=30)
    assert changes(events) == [("champion", "v1", "trial"), ("challenger", "v2", "trial")]
    assert events[0].cause.figures["evidence"] >= events[0].cause.figures["threshold"] == 20
    assert made.former is None


def test_a_model_that_a_trial_turned_back_can_be_champion_again_later() -> None:
    made, world = on_trial(), World(v1=0.9, v2=0.5)
    world.until(made)
    world.probabilities = {"v1": 0.5, "v2": 0.9}
    events = world.until(made, labels=30)
    assert changes(events) == [("champion", "v2", "trial"), ("challenger", "v1", "trial")]


def test_a_trial_between_new_models_does_not_retire_the_champion_before_the_alarm() -> None:
    made, world = on_trial("v3"), World(v1=0.6, v2=0.5, v3=0.9)
    assert changes(world.until(made, labels=30)) == [
        ("champion", "v3", "trial"),
        ("challenger", "v2", "trial"),
    ]
    assert made.former is not None
    assert (made.former.model.version, shadow(made)) == ("v1", ["v2", "v1"])


def test_after_the_trial_only_a_contest_or_the_probation_replaces_the_champion() -> None:
    made, world = on_trial(policy=TRIAL._replace(trial=50)), World(v1=0.6, v2=0.6)
    for _ in range(50):
        assert world.label(made) == []
    world.probabilities = {"v1": 0.9, "v2": 0.5}
    assert changes(world.until(made))[0] == ("champion", "v1", "probation")


def test_a_person_s_promotion_ends_a_trial() -> None:
    made, world = on_trial("v3"), World(v1=0.6, v2=0.6, v3=0.6)
    made.promote("v3", COMMAND)
    world.probabilities = {"v2": 0.9, "v3": 0.5}
    assert changes(world.until(made, labels=2000))[0][2] == "probation"


def test_a_trial_ends_when_no_other_model_is_left_so_that_the_next_alarm_begins_another() -> None:
    made = on_trial()
    made.retire("v1", COMMAND)
    made.challenge(model("v3"), ALARM)
    assert made.champion.version == "v3"


def test_the_candidate_of_a_second_alarm_waits_while_a_trial_goes_on() -> None:
    made = on_trial()
    made.challenge(model("v3"), ALARM)
    assert made.champion.version == "v2"


commands = st.lists(
    st.tuples(
        st.sampled_from(
            ["alarm", "challenge", "promote", "retire", "roll_back", "freeze", "unfreeze", "label"]
        ),
        st.integers(1, 30),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(commands)
def test_whatever_happens_the_events_say_which_model_is_champion_and_which_are_in_the_shadow(
    steps: list[tuple[str, int]],
) -> None:
    made, said, versions = roles(policy=TRIAL), {"v1": "champion"}, 1
    world = World(**{f"v{number}": 0.5 + number % 7 / 20 for number in range(1, 100)})
    for step, number in steps:
        try:
            if step == "alarm":
                versions += 1
                events = made.challenge(model(f"v{versions}"), ALARM)
            elif step in ("challenge", "roll_back"):
                versions += 1
                events = getattr(made, step)(model(f"v{versions}"), COMMAND)
            elif step in ("promote", "retire"):
                events = getattr(made, step)(f"v{number}", COMMAND)
            elif step == "label":
                events = [event for _ in range(number * 10) for event in world.label(made)]
            else:
                events = getattr(made, step)(COMMAND)
        except RoleError:
            continue
        for event in events:
            if isinstance(event, RoleChange):
                if event.role == "champion":  # as the predictor's line-up takes it
                    said = {version: role for version, role in said.items() if role != "champion"}
                said[event.model.version] = event.role
    in_service = {version: role for version, role in said.items() if role != "retired"}
    expected = {made.champion.version: "champion"} | dict.fromkeys(shadow(made), "challenger")
    assert in_service == expected
    assert len(made.challengers) <= POLICY.challengers


RUNS = 200
LEVEL = ContestPolicy(significance=0.05, patience=1000, block=10, challengers=5)  # 100 blocks, as by default


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def promoted(seed: int, noises: Sequence[float], storm: float, every: int) -> tuple[str, int] | None:
    """The first challenger promoted in the labels of one patience, and the labels until then.

    The models know the log odds of each event but for noise of their own, the champion's first. What none of
    them knows, the storm, is shared by the events of a block. A new challenger comes every `every` labels.
    """
    rng = np.random.default_rng(seed)
    labels = LEVEL.patience
    odds = rng.normal(-1, 1, labels)
    unknown = rng.normal(0, storm, labels // LEVEL.block).repeat(LEVEL.block)
    truths = (rng.random(labels) < logistic(odds + unknown)).tolist()
    names = [f"v{number}" for number in range(1, len(noises) + 1)]
    scores = [logistic(odds + rng.normal(0, noise, labels)).tolist() for noise in noises]
    made = Roles(model("v1"), LEVEL)
    waiting = iter(names[1:])
    for version in islice(waiting, LEVEL.challengers):
        made.challenge(model(version), ALARM)
    for number, (truth, champion, *others) in enumerate(zip(truths, *scores, strict=True), 1):
        shadows = dict(zip(names[1:], others, strict=True))
        made.compare(Prediction("a", 0, champion, "v1", shadows, []), truth)
        if made.champion.version != "v1":
            return made.champion.version, number
        if number % every == 0 and (version := next(waiting, "")):
            made.challenge(model(version), ALARM)
    return None


@pytest.mark.parametrize("storm", [0.0, 1.0])
def test_one_equal_challenger_is_promoted_in_fewer_runs_than_declared(storm: float) -> None:
    wrong = [promoted(seed, [0.5, 0.5], storm, LEVEL.patience) for seed in range(RUNS)]
    assert sum(map(bool, wrong)) <= LEVEL.significance * RUNS


@pytest.mark.parametrize("storm", [0.0, 1.0])
def test_of_five_equal_challengers_one_is_promoted_in_fewer_runs_than_declared(storm: float) -> None:
    wrong = [promoted(seed, [0.5] * 6, storm, LEVEL.patience) for seed in range(RUNS)]
    assert sum(map(bool, wrong)) <= LEVEL.significance * RUNS


def test_of_equal_challengers_that_keep_coming_one_is_promoted_in_fewer_runs_than_declared() -> None:
    wrong = [promoted(seed, [0.5] * 14, 0.0, LEVEL.patience // 10) for seed in range(RUNS)]
    assert sum(map(bool, wrong)) <= LEVEL.significance * RUNS


def test_of_five_challengers_the_better_one_is_promoted_in_nearly_all_runs() -> None:
    found = [promoted(seed, [1.5, 1.5, 1.5, 1.5, 1.5, 0.2], 0.0, LEVEL.patience) for seed in range(40)]
    assert [each[0] for each in found if each].count("v6") >= 0.95 * 40
    assert sum(each[1] for each in found if each) / 40 < LEVEL.patience / 2
