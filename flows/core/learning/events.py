"""The events of the learner: what follows from an input or from a command."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from flows.core.drift.signal import DriftSignal
from flows.core.learning.outliers import OutlierValue
from flows.core.models.model import Model, Role
from flows.core.stream.broker import Record

CauseKind = Literal[
    "alarm",
    "schedule",
    "floor",
    "first",
    "command",
    "contest",
    "canary",
    "trial",
    "probation",
    "replaced",
]


class Cause(NamedTuple):
    """Why a model got a role.

    `why` is for people. `figures` are those of the decision, such as the labels compared, the gain, the log
    likelihood ratio and its threshold.
    """

    kind: CauseKind
    why: str
    figures: Mapping[str, float] = MappingProxyType({})


class RoleChange(NamedTuple):
    """A model got another role, or a challenger became the canary.

    A former champion on probation of its successor has the role challenger.
    """

    role: Role
    model: Model
    cause: Cause


class ContestWon(NamedTuple):
    """A challenger won its contest, and waits until a person promotes it."""

    model: Model
    cause: Cause


class FreezeChange(NamedTuple):
    """The champion stopped to learn, or learns again."""

    is_frozen: bool
    model: Model
    cause: Cause


class DeadLabel(NamedTuple):
    """A label that cannot be used, with the reason and the detail of its dead letter.

    `error` is the exception of a model, if any.
    """

    record: Record
    reason: str
    detail: str
    error: Exception | None = None


class LearningFailure(NamedTuple):
    """An event that a model could not learn, with the detail of its dead letter.

    `error` is the exception of the model, if any.
    """

    detail: str
    error: Exception | None = None


class Outlier(NamedTuple):
    """A served event with outliers; the declaration says how they are treated."""

    id: str
    outside: Mapping[str, OutlierValue]  # by feature, or `LABEL`


RoleEvent = RoleChange | ContestWon | FreezeChange
LearnerEvent = DriftSignal | RoleEvent | DeadLabel | LearningFailure | Outlier
