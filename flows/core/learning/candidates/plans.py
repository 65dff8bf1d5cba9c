"""The candidates that are trained for a trigger."""

from typing import Literal, NamedTuple

from flows.core.learning.candidates.triggers import Trigger

CandidateKind = Literal["warm", "fresh", "fresh-longer", "search"]


class CandidatePlan(NamedTuple):
    """A candidate to train: its kind, its version, and the time (ms) from which on it learns labels."""

    kind: CandidateKind
    version: str
    since: int


def plans(trigger: Trigger, window: int | None, has_search: bool) -> tuple[CandidatePlan, ...]:
    """Return the candidates of a trigger; `window` (ms) is the longer history, if one is declared.

    After an alarm or on command: a new model that learns only the labels since the change, and a copy of the
    champion that learns them once more. Where the window is longer: a new model that learns all of it. A
    schedule or a floor knows no change: a new model learns the window. A search is over the longest history.
    The first search is alone.

    The new model is the first one, since an alarm puts the first one on trial.
    """
    longest = trigger.since if window is None else min(trigger.since, max(0, trigger.time - window))
    found: list[tuple[CandidateKind, int]] = []
    if trigger.kind != "first":
        found.append(("fresh", trigger.since))
    if trigger.kind in ("alarm", "command"):
        found.append(("warm", trigger.since))
    if longest < trigger.since:
        found.append(("fresh-longer", longest))
    if has_search:
        found.append(("search", longest))
    return tuple(CandidatePlan(kind, f"{trigger.name}-{kind}", since) for kind, since in found)
