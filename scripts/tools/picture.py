"""Draws the demo's result as it looks in a terminal: `python -m scripts.tools.picture SUMMARY.json OUT.svg`.

`SUMMARY.json` is what `scripts/demo --summary` wrote, so the picture shows a run and nothing else.
"""

import io
import re
import sys
from pathlib import Path

import orjson
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from scripts.tools import demo

WIDTH = 118  # characters: the longest row in one line
# Rich's picture would fetch a font from another site whenever somebody looks at it
FORMAT = re.sub(r"@font-face {{.*?}}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def picture(summary: bytes) -> str:
    """The SVG of a summary."""
    demo.console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    demo.show(orjson.loads(summary))
    return demo.console.export_svg(title="scripts/demo", code_format=FORMAT, unique_id="demo")


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(picture(source.read_bytes()))
