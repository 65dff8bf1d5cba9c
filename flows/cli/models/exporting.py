"""`driftline models card` and `export`: a version for people, and for other tools."""

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.models.mirroring import mirror_version
from flows.cli.models.versions import VersionArgument, opened_version
from flows.cli.options import PipelineOption, examples
from flows.host.tables import console, print_line

if TYPE_CHECKING:
    from flows.cli.models.versions import OpenedVersion

commands = typer.Typer()


class Format(StrEnum):
    """The formats of an export."""

    ONNX = "onnx"
    MLFLOW = "mlflow"
    BOM = "bom"


FormatOption = Annotated[
    Format,
    typer.Option(
        "--to",
        help="onnx: a file that scores without Driftline; mlflow: a version in MLflow's registry; bom: a "
        "CycloneDX bill of materials.",
    ),
]
OutOption = Annotated[
    str,
    typer.Option(
        metavar="FILE|STORE",
        help="The file to write; for mlflow the store: a server's URL, or sqlite:///FILE.",
    ),
]
CardOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="The file to write. Default: standard output.")
]


@commands.command(
    "card",
    epilog=examples("driftline models card champion", "driftline models card v2-fresh --out model-card.md"),
)
def card(version: VersionArgument, out: CardOption = None, pipeline: PipelineOption = "") -> None:
    """Write the model card of a version in Markdown."""
    from flows.core.exporting.model_card import model_card
    from flows.host.printable import printable_lines
    from flows.jobs.models.exports import write_file

    with opened_version(version, pipeline) as found:
        text = printable_lines(model_card(found.facts)).encode()
    if out is None:
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
    else:
        write_file(out, text)


@commands.command(
    "export",
    epilog=examples(
        "driftline models export champion --to onnx --out model.onnx",
        "driftline models export v2-fresh --to mlflow --out http://127.0.0.1:5000",
        "driftline models export models:/flight_delays@champion --to bom --out model.cdx.json",
    ),
)
def export(version: VersionArgument, to: FormatOption, out: OutOption, pipeline: PipelineOption = "") -> None:
    """Export a version to ONNX, MLflow or a bill of materials."""
    write = {Format.ONNX: _onnx, Format.MLFLOW: mirror_version, Format.BOM: _bom}[to]
    with opened_version(version, pipeline) as found:
        said = write(found, out)
    lineage = found.facts.lineage
    print_line(console(), f"{lineage.pipeline} {lineage.version} after {lineage.labels:,} labels: {said}")


def _onnx(found: "OpenedVersion", out: str) -> str:
    from flows.jobs.models.exports import CHECKED_ROWS, export_onnx
    from flows.jobs.models.newest import served_rows

    running = found.opened.running
    plan = running.state.plan()
    rows = served_rows(running.pipeline, plan, found.opened.broker, CHECKED_ROWS)
    names = running.pipeline.feature_names(plan)
    checked = export_onnx(Path(out), found.facts, found.state.model, names, rows)
    return f"{out} gives River's scores on the last {checked.rows:,} served rows, to {checked.difference:.2g}"


def _bom(found: "OpenedVersion", out: str) -> str:
    from flows.core.exporting.bom import bill_of_materials
    from flows.jobs.models.exports import write_file

    write_file(Path(out), bill_of_materials(found.facts, round(time.time() * 1000)))
    return f"{out} is its bill of materials"
