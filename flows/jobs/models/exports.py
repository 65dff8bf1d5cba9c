"""Writes a model version in the formats of others."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from flows.adapters.onnx.linear import onnx_scores, write_onnx
from flows.core.exporting.facts import ModelFacts
from flows.core.exporting.linear_form import linear_form
from flows.core.models.model import Model
from flows.core.stream.times import iso
from flows.errors import ConfigError, DriftlineError
from flows.host.files import replacing

CHECKED_ROWS = 1000  # of the last served predictions
TOLERANCE = 1e-9  # of a score, relative for scores above 1


class CheckedExport(NamedTuple):
    """How many served rows a file was checked on, and the largest difference of a score from River's."""

    rows: int
    difference: float


def export_onnx(
    out: Path, facts: ModelFacts, model: Model, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> CheckedExport:
    """Write an ONNX file that gives the scores of `model` for these served rows of the features `names`.

    Raises `ConfigError` for a model that has no ONNX form and without a row that it scores, and
    `DriftlineError` if a score differs; then there is no file.
    """
    form = linear_form(model.estimator, names, "ONNX")
    scored = list(scored_rows(model, names, rows))
    if not scored:
        raise ConfigError(
            "an ONNX file is checked on served predictions of the current feature plan, got none that the "
            "model scores; run the flows until there are some"
        )
    with _replacing(out) as unfinished:
        write_onnx(form, _metadata(facts), unfinished)
        found = onnx_scores(unfinished, names, [row for row, _ in scored])
        difference = max(
            abs(ours - rivers) / max(1.0, abs(rivers))
            for ours, (_, rivers) in zip(found, scored, strict=True)
        )
        if not difference <= TOLERANCE:
            raise DriftlineError(
                f"an ONNX file must give River's scores to {TOLERANCE:g}, got a difference of {difference:g} "
                f"on {len(scored):,} served rows; no file was written"
            )
    return CheckedExport(len(scored), difference)


def scored_rows(
    model: Model, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> Iterator[tuple[Sequence[Any], float]]:
    """Yield the rows that the model scores, with River's scores; one with a null or a text has none."""
    for row in rows:
        with suppress(Exception):  # an estimator is user code
            yield row, float(model.score(dict(zip(names, row, strict=True))))  # type: ignore[arg-type]


def _metadata(facts: ModelFacts) -> dict[str, str]:
    lineage = facts.lineage
    return {
        "pipeline": lineage.pipeline,
        "version": lineage.version,
        "labels": str(lineage.labels),
        "created": iso(lineage.created),
        "plan": lineage.plan,
        "snapshot": lineage.snapshot.sha256,
        "score": facts.answer,
    }


def write_file(out: Path, content: bytes) -> None:
    """Write a file that is whole or as it was; raises `ConfigError` if it cannot be written."""
    with _replacing(out) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    try:
        with replacing(out) as unfinished:
            yield unfinished
    except OSError as error:
        raise ConfigError(
            f"--out must be a file that can be written, got {out} ({error.strerror}); name another file"
        ) from error
