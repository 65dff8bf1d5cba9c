"""Everything that an export says about one model version, collected in one place."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flows.core.drift.signal import DriftSignal
from flows.core.lineage import Lineage

_ANSWERS = {
    "binary": "the probability that `{target}` is true, from 0 to 1",
    "multiclass": "the probability of each value of `{target}`",
    "regression": "the value of `{target}`, a number",
    "anomaly": "how strange the event is, and whether it is above the model's threshold",
}


class ModelFeature(NamedTuple):
    """A feature that the model reads: its name, its type, and the field or the topic that it comes from."""

    name: str
    kind: str
    source: str


class ModelFacts(NamedTuple):
    """A model version: what it is for, what it reads, and what was measured.

    - `purpose` is the docstring of the pipeline's module; "" without one.
    - `measured` is the last assessment of the metrics topic while the version was champion, with the counts
      and metrics beside it; None if it never served.
    - `signals` are the drift signals raised while it was champion, in order.
    """

    lineage: Lineage
    role: str
    purpose: str
    task: str
    target: str
    features: tuple[ModelFeature, ...]
    label_wait: int  # ms
    measured: Mapping[str, Any] | None
    signals: tuple[DriftSignal, ...]

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the estimator's steps."""
        return tuple(self.lineage.parameters)

    @property
    def answer(self) -> str:
        """What a prediction of the model says."""
        return _ANSWERS[self.task].format(target=self.target)

    @property
    def assessment(self) -> Mapping[str, Any]:
        """The assessment by calibration, slice and cost; empty if there is none."""
        return (self.measured or {}).get("assessment") or {}

    @property
    def slices(self) -> Mapping[str, Any]:
        """The rates and the fairness of each declared slice's column."""
        return self.assessment.get("slices") or {}


def limits(facts: ModelFacts) -> list[str]:
    """Return what a reader must not conclude, from the facts."""
    lineage = facts.lineage
    found = [
        f"It is a snapshot after {lineage.labels:,} labels. The model in service learns with every label, so "
        "its later predictions differ.",
        "It knows only events like those of its data range; nothing was tested outside it.",
    ]
    if facts.measured is None:
        found.append("It never served as champion, so there are no metrics of its own predictions.")
    else:
        found += _measured_limits(facts.measured, lineage.parent)
    if any(signal.status == "firing" for signal in facts.signals):
        found.append("Drift was met while it served; see the section Drift.")
    if lineage.code is None:
        found.append("The commit of its code is not known.")
    elif not lineage.code.clean:
        found.append("Its code differs from the commit named in the lineage.")
    small = sorted(column for column, table in facts.slices.items() if _has_small_group(table))
    if small:
        found.append(
            f"Some groups of {', '.join(small)} have too few labels for a rate; they are not part of the "
            "fairness figures."
        )
    return found


def _measured_limits(measured: Mapping[str, Any], parent: str | None) -> list[str]:
    found = []
    if parent is not None:
        found.append(
            "Its metrics include the labels of earlier champions: they are those of all served predictions, "
            f"over {measured['labels']:,} labels."
        )
    if measured.get("expired"):
        found.append(f"{measured['expired']:,} predictions got no label in time and are in no metric.")
    if measured.get("assumed"):
        found.append(f"{measured['assumed']:,} labels were assumed, since none arrived.")
    return found


def _has_small_group(table: Mapping[str, Any]) -> bool:
    return any(group["positive"] is None for group in table["groups"])
