"""The model card of a version, in Markdown.

Mitchell et al., "Model cards for model reporting", 2019. Every figure comes from the log, none from a person.
"""

from collections.abc import Mapping
from typing import Any

from flows.core.exporting.facts import ModelFacts, limits
from flows.core.exporting.markdown import cell, escaped, items, table
from flows.core.lineage import Lineage
from flows.core.stream.times import iso

_FAIRNESS = {
    "parity_difference": "largest difference of the share of positive answers (demographic parity)",
    "parity_ratio": "smallest by largest share of positive answers (below 0.8 fails the four-fifths rule)",
    "opportunity_difference": "largest difference of the true positive rates (equal opportunity)",
    "false_positive_difference": "largest difference of the false positive rates",
    "error_difference": "largest difference of the error rates",
}

_ROLES = {"shadow": "former champion in the shadow", "retired": "retired version"}


def model_card(facts: ModelFacts) -> str:
    """Return the card; a section without data says so."""
    lineage = facts.lineage
    sections = {
        "Purpose": _purpose(facts),
        "Data": _data(lineage),
        "Features": table(("feature", "type", "from"), facts.features),
        "Metrics": _metrics(facts.measured),
        "Slices": _slices(facts.slices),
        "Fairness": _fairness(facts.slices),
        "Calibration": _calibration(facts.assessment.get("calibration")),
        "Drift": _drift(facts),
        "Limits": items(limits(facts)),
        "Lineage": _lineage(lineage),
    }
    role = _ROLES.get(facts.role, facts.role)
    head = f"# {escaped(lineage.pipeline)} {escaped(lineage.version)}\n\nModel card of a {role}."
    return "\n\n".join([head, *(f"## {name}\n\n{text}" for name, text in sections.items())]) + "\n"


def _purpose(facts: ModelFacts) -> str:
    purpose = escaped(facts.purpose) or "Not stated; the docstring of the pipeline's module is printed here."
    return "\n\n".join(
        [
            purpose,
            items(
                [
                    f"Task: {facts.task}. A prediction is {facts.answer}.",
                    f"Estimator: {' | '.join(map(escaped, facts.steps))}.",
                    f"A label counts if it arrives within {facts.label_wait / 3_600_000:g} h of its event.",
                ]
            ),
        ]
    )


def _data(lineage: Lineage) -> str:
    data = lineage.data
    said = f"Event time from {iso(data.since)} to {iso(data.until)}; {lineage.labels:,} labels learned."
    rows = [(each.topic, each.partition, each.start, each.end) for each in data.offsets]
    return f"{said}\n\n{table(('topic', 'partition', 'first offset', 'end offset'), rows)}"


def _metrics(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "None: this version never served as champion."
    assessment = measured.get("assessment") or {}
    recent = assessment.get("recent") or {"labels": 0, "metrics": {}}
    parts = [
        f"Of the served predictions until {measured['time']}, beside the baselines that any model must beat.",
        f"All {measured['labels']:,} labels:",
        _by_predictor(measured["metrics"]),
        f"The last {recent['labels']:,} labels:",
        _by_predictor(recent["metrics"]),
        "Losses, and the share of a baseline's loss that the model avoids (skill):",
        _losses(assessment.get("losses") or {}),
    ]
    return "\n\n".join(parts)


def _by_predictor(metrics: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [(predictor, *map(values.get, names)) for predictor, values in metrics.items()]
    return table(("predictor", *map(escaped, names)), rows)


def _losses(losses: Mapping[str, Any]) -> str:
    rows = [
        (name, kind, *(values.get(predictor) for predictor in ("model", "majority", "no-change")))
        for name, kinds in losses.items()
        for kind, values in kinds.items()
    ]
    return table(("loss", "over", "model", "majority", "no-change"), rows)


def _slices(slices: Mapping[str, Any]) -> str:
    if not slices:
        return "The pipeline declares no slices."
    head = ("group", "labels", "error rate", "positive answers", "true positive rate", "false positive rate")
    rates = ("value", "labels", "error", "positive", "true_positive", "false_positive")
    groups = {
        column: [[group[rate] for rate in rates] for group in found["groups"]]
        for column, found in slices.items()
    }
    return "\n\n".join(f"By {escaped(column)}:\n\n{table(head, rows)}" for column, rows in groups.items())


def _fairness(slices: Mapping[str, Any]) -> str:
    if not slices:
        return "Not measured: the pipeline declares no slices."
    rows = [
        (text, *(found["fairness"][name] for found in slices.values())) for name, text in _FAIRNESS.items()
    ]
    return table(("between the groups of", *map(escaped, slices)), rows)


def _calibration(calibration: Mapping[str, Any] | None) -> str:
    if not calibration:
        return "Not measured: only the probabilities of a binary model that served are."
    bins = [each for each in calibration["bins"] if each["labels"]]
    brier = calibration["brier"]
    return "\n\n".join(
        [
            f"Expected calibration error {cell(calibration['expected_error'])}. Brier score "
            f"{cell(brier['score'])}: reliability {cell(brier['reliability'])}, resolution "
            f"{cell(brier['resolution'])}, uncertainty {cell(brier['uncertainty'])}.",
            table(
                ("served from", "to", "labels", "mean score", "share true"),
                [(each["low"], each["high"], each["labels"], each["score"], each["share"]) for each in bins],
            ),
        ]
    )


def _drift(facts: ModelFacts) -> str:
    head = ("time", "kind", "detector", "severity", "status", "before", "after", "what moved")
    rows = [
        (
            iso(signal.time),
            signal.kind,
            signal.detector,
            signal.severity,
            signal.status,
            signal.estimate_before,
            signal.estimate_after,
            ", ".join(column.name for column in signal.columns) or None,
        )
        for signal in facts.signals
    ]
    return table(head, rows)


def _lineage(lineage: Lineage) -> str:
    code = lineage.code
    rows: list[tuple[str, Any]] = [
        ("pipeline", lineage.pipeline),
        ("version", lineage.version),
        ("parent", lineage.parent),
        ("cause", lineage.cause),
        ("created (event time)", iso(lineage.created)),
        ("commit", None if code is None else code.commit),
        ("working tree", None if code is None else "clean" if code.clean else "changed"),
        ("feature plan", lineage.plan),
        ("snapshot, SHA-256", lineage.snapshot.sha256),
        ("snapshot, bytes", lineage.snapshot.size),
    ]
    rows += [(f"version of {name}", version) for name, version in lineage.libraries.items()]
    rows += [
        (f"{step}: {name}", repr(value))
        for step, parameters in lineage.parameters.items()
        for name, value in parameters.items()
    ]
    return table(("", ""), rows)
