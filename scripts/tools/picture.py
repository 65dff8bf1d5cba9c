"""Draws a demo's result as a terminal shows it: `python -m scripts.tools.picture SUMMARY.json OUT.svg`.

`SUMMARY.json` is a file written by `scripts/demo --summary`.
"""

import io
import re
import sys
from pathlib import Path

import orjson
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from scripts.tools import demo

WIDTH = 118  # characters; fits the longest row
# without Rich's web font, which every viewer would fetch from another site
FORMAT = re.sub(r"@font-face {{.*?}}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def picture(summary: bytes) -> str:
    """Return the SVG of a summary."""
    demo.console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    demo.show(orjson.loads(summary))
    return demo.console.export_svg(title="scripts/demo", code_format=FORMAT, unique_id="demo")


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(picture(source.read_bytes()))
