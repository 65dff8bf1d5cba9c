"""The state of a flow and of a pipeline, for the dashboard."""

from collections.abc import Collection
from typing import Literal, NamedTuple

FlowCondition = Literal["running", "behind", "starting", "stopped", "unknown"]
PipelineCondition = Literal["running", "empty", "behind", "stopped"]

BEHIND = 5.0  # seconds of its own pace that a flow needs for its backlog, from which on it is behind
_FEW = 100  # records, which are no backlog


class Seen(NamedTuple):
    """What is known of a flow.

    - `answers`: whether a process of it answers on its port; None if the port is not known.
    - `waits_for`: why such a process is not ready.
    - `lag`: the records that it has not read yet; None if it never read a topic.
    - `rate`: the records a second that it reads; None if that is not known yet.
    """

    answers: bool | None
    waits_for: str | None
    lag: int | None
    rate: float | None


def flow_state(seen: Seen) -> FlowCondition:
    """Return the state of a flow.

    >>> flow_state(Seen(True, None, 20, 500.0)), flow_state(Seen(True, None, 9000, 500.0))
    ('running', 'behind')
    >>> flow_state(Seen(False, None, 20, None)), flow_state(Seen(None, None, 0, 0.0))
    ('stopped', 'unknown')
    """
    if seen.answers is False:
        return "stopped"
    if seen.waits_for is not None:
        return "starting"
    if seen.answers is None and not seen.rate:
        return "stopped" if seen.rate is not None and (seen.lag or 0) > 0 else "unknown"
    return "behind" if _is_behind(seen.lag or 0, seen.rate) else "running"


def _is_behind(lag: int, rate: float | None) -> bool:
    return lag > _FEW and rate is not None and lag > BEHIND * rate


def pipeline_state(events: int, flows: Collection[FlowCondition]) -> PipelineCondition:
    """Return the state of a pipeline whose log can be read, with so many events.

    >>> pipeline_state(10, ["running", "behind"]), pipeline_state(0, ["running"])
    ('behind', 'empty')
    """
    if not events:
        return "empty"
    if "stopped" in flows:
        return "stopped"
    return "behind" if "behind" in flows else "running"
