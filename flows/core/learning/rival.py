"""A model in the shadow of the champion, and what its contest won so far."""

from flows.core.learning.contest import Contest, Verdict
from flows.core.learning.trial import Lead
from flows.core.models.model import Model


class Rival:
    """A model in the shadow, and its contest with the champion.

    `is_demoted`: it was the champion before a rollback, which holds until a person promotes it again.
    `awaits_approval`: it won its contest, and waits until a person promotes it. `share`: the share of the
    entities that it is served to as the canary, until `canary_until` labels were compared.
    """

    def __init__(self, model: Model, contest: Contest, is_demoted: bool = False) -> None:
        self.model = model
        self.contest = contest
        self.lead = Lead()
        self.is_demoted = is_demoted
        self.awaits_approval = False
        self.share = 0.0
        self.canary_until = 0

    def restart(self, contest: Contest) -> None:
        """Begin a contest with another champion; what was won from the one before is void."""
        self.contest, self.lead, self.awaits_approval = contest, Lead(), False
        self.share, self.canary_until = 0.0, 0

    def settles(self, verdict: Verdict) -> bool:
        """Return whether the verdict changes a role; a canary is decided at its end, or once it is worse."""
        if verdict == "open":
            return False
        if self.share and verdict == "lost" and self.contest.is_worse:
            return True
        return not self.awaits_approval and self.contest.labels >= self.canary_until
