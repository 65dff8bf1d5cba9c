"""The roles of a pipeline's models: champion, challengers, and the former champion during a probation.

The challengers and the former champion are in the shadow: the predictor scores with them, and each has a
contest with the champion. Methods that change a role return the events that follow, and raise `RoleError` if
the change is impossible. A new champion begins new contests with the models that stay in the shadow.

After an alarm its first candidate is champion at once. During the trial that follows, the model that leads by
now is champion, and none is retired for that. The trial ends before its time when no other model is left.
"""

from collections.abc import Mapping, Sequence

from flows.core.learning.contest import Contest, PromotionGate, Verdict, spent
from flows.core.learning.events import Cause, ContestWon, FreezeChange, RoleChange, RoleEvent
from flows.core.learning.policy import ContestPolicy
from flows.core.learning.rival import Rival
from flows.core.models.baselines import Score
from flows.core.models.model import Model, Prediction
from flows.core.models.tasks import Truth
from flows.errors import RoleError


class Roles:
    """The models of one pipeline by role.

    `former` is the champion before, while the present one is on probation. `is_frozen`: the champion is
    served and does not learn, and no contest replaces it.
    """

    def __init__(self, champion: Model, policy: ContestPolicy) -> None:
        self.champion = champion
        self.challengers: list[Rival] = []
        self.former: Rival | None = None
        self.is_frozen = False
        self.policy = policy
        self._contests = 0  # with this champion
        self._trial = 0  # labels until the trial after an alarm ends

    @property
    def rivals(self) -> Sequence[Rival]:
        """The models in the shadow: the challengers, then the former champion."""
        return self.challengers if self.former is None else [*self.challengers, self.former]

    @property
    def is_alone(self) -> bool:
        """Whether the champion is the only model, and learns."""
        return not (self.challengers or self.is_frozen or self.former is not None)

    @property
    def is_open(self) -> bool:
        """Whether a model may become champion at once, without a person and without a canary."""
        return not (self.is_frozen or self.policy.approval or self.policy.canary)

    @property
    def learning(self) -> Sequence[Model]:
        """The models that learn."""
        if self.is_alone:
            return (self.champion,)
        champion = () if self.is_frozen else (self.champion,)
        return [*champion, *(rival.model for rival in self.rivals)]

    @property
    def shares(self) -> Mapping[str, float]:
        """The share of the entities that is served by the canary, by its version; empty without one."""
        canary = self._canary
        return {} if canary is None else {canary.model.version: canary.share}

    @property
    def gates(self) -> Mapping[str, Sequence[PromotionGate]]:
        """The conditions of a promotion of each model in the shadow, by its version."""
        return {rival.model.version: rival.contest.gates() for rival in self.rivals}

    def challenge(self, model: Model, cause: Cause) -> list[RoleEvent]:
        """Put a new challenger in the shadow; if all places are taken, retire the weakest one.

        The first candidate of an alarm is champion at once, on trial.
        """
        if not self.rivals:
            self._trial = 0
        rival = Rival(model, self._contest())
        events = self._enter(rival, cause)
        if cause.kind != "alarm" or self._trial or not self._has_trials:
            return events
        events += self._promote(rival, cause)
        self._trial = self.policy.trial
        return events

    def promote(self, version: str, cause: Cause) -> list[RoleEvent]:
        """Make a model in the shadow the champion, and put the champion before it on watch."""
        rival, self._trial = self._rival(version), 0
        return self._promote(rival, cause)

    def retire(self, version: str, cause: Cause) -> list[RoleEvent]:
        """Take a model out of the shadow; for the former champion this ends the probation."""
        return [self._leave(self._rival(version), cause)]

    def roll_back(self, model: Model, cause: Cause) -> list[RoleEvent]:
        """Make a new model with an old state the champion; the champion before it becomes a challenger.

        Only a person promotes that challenger again.
        """
        demoted, self._trial = self.champion, 0
        events = self._serve(model, cause)
        return events + self._enter(Rival(demoted, self._contest(), is_demoted=True), cause)

    def freeze(self, cause: Cause) -> list[RoleEvent]:
        """Let the champion learn no more. It is served and evaluated, and the models in the shadow learn."""
        return self._freeze(True, cause)

    def unfreeze(self, cause: Cause) -> list[RoleEvent]:
        """Let the champion learn again."""
        return self._freeze(False, cause)

    def compare(self, prediction: Prediction, truth: Truth) -> list[RoleEvent]:
        """Add a labelled event to the contests; return the new roles if that decides one.

        It counts for each model that scored it beside the present champion.
        """
        scores = self._scores(prediction)
        if self.champion.version not in scores:
            return []
        loss, decided = self.champion.task.loss, []
        served = loss(scores[self.champion.version], truth)
        for rival in self.rivals:
            score = scores.get(rival.model.version)
            if score is not None:
                lost = loss(score, truth)
                if self._trial:
                    rival.lead.update(served, lost)
                verdict = rival.contest.update(served, lost)
                if rival.settles(verdict):
                    decided.append((rival, verdict))
        if decided:
            return self._settle(decided)
        return self._try() if self._trial else []

    @property
    def _has_trials(self) -> bool:
        """Whether the declaration leaves the choice of the champion after an alarm to the engine."""
        return self.is_open and min(self.policy.trial, self.policy.probation) > 0

    def _try(self) -> list[RoleEvent]:
        """During a trial, let a model be champion as soon as it leads."""
        self._trial -= 1
        least = 1 / self.policy.significance
        leading = [each for each in self.rivals if each.lead.value >= least and not each.is_demoted]
        if not leading or not self._has_trials:
            return []
        best = max(leading, key=lambda each: each.lead.value)
        why = f"{best.model.version} has a lower loss than {self.champion.version} by now"
        figures = {"evidence": best.lead.value, "threshold": least}
        return self._exchange(best, Cause("trial", why, figures))

    def _scores(self, prediction: Prediction) -> Mapping[str, Score]:
        """Return the scores by version; none if a former champion was served."""
        canary = self._canary
        in_service = (self.champion.version, "" if canary is None else canary.model.version)
        if prediction.version not in in_service:
            return {}
        return {**prediction.shadows, prediction.version: prediction.score}

    @property
    def _canary(self) -> Rival | None:
        return next((rival for rival in self.challengers if rival.share), None)

    def _settle(self, decided: Sequence[tuple[Rival, Verdict]]) -> list[RoleEvent]:
        """Retire the losers; promote the winner with the largest gain that needs no approval."""
        events: list[RoleEvent] = [
            self._leave(rival, self._defeat(rival)) for rival, verdict in decided if verdict == "lost"
        ]
        winners = [rival for rival, verdict in decided if verdict == "won"]
        if free := [rival for rival in winners if self._is_free(rival)]:
            return events + self._advance(max(free, key=lambda rival: rival.contest.gain))
        for rival in winners:
            if self._needs_approval(rival):
                rival.awaits_approval = True
                events.append(ContestWon(rival.model, self._victory(rival)))
        return events

    def _is_free(self, winner: Rival) -> bool:
        """Return whether the winner can be promoted or be the canary now; there is one canary at a time."""
        canary = self._canary
        return not self._needs_approval(winner) and (canary is None or winner in (canary, self.former))

    def _advance(self, winner: Rival) -> list[RoleEvent]:
        """Promote the winner, or let it be the canary first."""
        if winner is self.former or winner.share or not self.policy.canary:
            return self._promote(winner, self._victory(winner))
        winner.share = self.policy.canary
        winner.canary_until = winner.contest.labels + self.policy.canary_labels
        why = f"{self._victory(winner).why}; it is served to {winner.share:.1%} of the entities first"
        cause = Cause("canary", why, {**winner.contest.figures(), "share": winner.share})
        return [RoleChange("challenger", winner.model, cause)]

    def _needs_approval(self, rival: Rival) -> bool:
        return self.is_frozen or rival.is_demoted or (self.policy.approval and rival is not self.former)

    def _promote(self, rival: Rival, cause: Cause) -> list[RoleEvent]:
        """Serve the model; the former champion needs no probation when it comes back."""
        if self._trial:
            return self._exchange(rival, cause)
        old, is_back = self.champion, rival is self.former
        events = self._serve(rival.model, cause)
        if is_back or not self.policy.probation:
            return [*events, RoleChange("retired", old, cause)]
        self.former = self._on_watch(old)
        return [*events, RoleChange("challenger", old, cause)]

    def _exchange(self, rival: Rival, cause: Cause) -> list[RoleEvent]:
        """Serve the model during a trial, which retires neither the champion before the alarm nor another."""
        old, former, self.former = self.champion, self.former, None
        events = self._serve(rival.model, cause)
        if former is None:
            self.former = self._on_watch(old)
            return [*events, RoleChange("challenger", old, cause)]
        if former is not rival:
            self.former = self._on_watch(former.model)
        return events + self._enter(Rival(old, self._contest()), cause)

    def _on_watch(self, model: Model) -> Rival:
        return Rival(model, self._new_contest(self.policy.significance, self.policy.probation))

    def _serve(self, model: Model, cause: Cause) -> list[RoleEvent]:
        """Make the model the champion, and begin new contests with the other models in the shadow."""
        events: list[RoleEvent] = [RoleChange("champion", model, cause)]
        former, self.former = self.former, None
        if former is not None and former.model is not model:
            events.append(RoleChange("retired", former.model, _replaced(former, model)))
        self.champion, self.is_frozen, self._contests = model, False, 0
        self.challengers = [rival for rival in self.challengers if rival.model is not model]
        for rival in self.challengers:
            rival.restart(self._contest())
        return events

    def _enter(self, rival: Rival, cause: Cause) -> list[RoleEvent]:
        events: list[RoleEvent] = []
        while len(self.challengers) >= self.policy.challengers:
            weakest = min(self.challengers, key=lambda each: each.contest.evidence)
            events.append(self._leave(weakest, _replaced(weakest, rival.model)))
        self.challengers.append(rival)
        return [*events, RoleChange("challenger", rival.model, cause)]

    def _leave(self, rival: Rival, cause: Cause) -> RoleChange:
        if rival is self.former:
            self.former = None
        else:
            self.challengers.remove(rival)
        return RoleChange("retired", rival.model, cause)

    def _freeze(self, is_frozen: bool, cause: Cause) -> list[RoleEvent]:
        if self.is_frozen == is_frozen:
            state = "frozen" if is_frozen else "learning"
            raise RoleError(f"the champion {self.champion.version!r} is {state} already; nothing was changed")
        self.is_frozen = is_frozen
        return [FreezeChange(is_frozen, self.champion, cause)]

    def _contest(self) -> Contest:
        """Return a new contest of a challenger; each further one has a smaller share of the significance."""
        self._contests += 1
        return self._new_contest(spent(self.policy.significance, self._contests), self.policy.patience)

    def _new_contest(self, significance: float, patience: int) -> Contest:
        policy = self.policy
        return Contest(significance, patience, policy.block, policy.minimum_labels, policy.minimum_effect)

    def _rival(self, version: str) -> Rival:
        found = {rival.model.version: rival for rival in self.rivals}
        if version not in found:
            names = ", ".join(map(repr, found)) or "none"
            role = "the champion" if version == self.champion.version else "not"
            raise RoleError(
                f"the model must be a challenger or the champion before, got {version!r}, which is {role}; "
                f"use one of: {names}"
            )
        return found[version]

    def _victory(self, rival: Rival) -> Cause:
        if rival is self.former:
            why = f"{rival.model.version} has a lower loss than its successor {self.champion.version}"
            return Cause("probation", why, rival.contest.figures())
        why = f"{rival.model.version} has a lower loss than {self.champion.version}"
        return Cause("contest", why, rival.contest.figures())

    def _defeat(self, rival: Rival) -> Cause:
        version, champion, figures = rival.model.version, self.champion.version, rival.contest.figures()
        found = "a higher loss" if rival.contest.is_worse else "no lower loss"
        if rival is self.former:
            return Cause("probation", f"{version} has {found} than its successor {champion}", figures)
        return Cause("contest", f"{version} has {found} than {champion}", figures)


def _replaced(rival: Rival, by: Model) -> Cause:
    why = f"{by.version} took the place of {rival.model.version}"
    return Cause("replaced", why, rival.contest.figures())
