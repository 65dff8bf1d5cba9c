"""Draws the demo's result as it looks in a terminal: `python scripts/picture.py SUMMARY.json docs/demo.svg`.

`SUMMARY.json` is what `scripts/demo --summary` wrote, so the picture shows a run and nothing else.
"""

import io
import sys
from pathlib import Path

import demo
import orjson
from rich.console import Console

WIDTH = 100  # characters


def picture(summary: bytes) -> str:
    """The SVG of a summary."""
    demo.console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    demo.show(orjson.loads(summary))
    return demo.console.export_svg(title="scripts/demo", unique_id="demo")


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(picture(source.read_bytes()))
