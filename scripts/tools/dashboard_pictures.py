"""Takes the pictures of the dashboard in docs/ from `scripts/demo`; the files are replaced.

The overview is taken while the last flights are published one by one, the other views when all are learned.
"""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.tools.chromium import Tab, chromium_tab
from scripts.tools.demo import DEMO, LIVE_EVENTS
from scripts.tools.fresh import REPOSITORY

DOCS = REPOSITORY / "docs"
FLIGHTS = 336_776  # a year
PIPELINE = "flight_delays"
WIDTH = 1280  # pixels
WINDOW = 640  # pixels; the heat map takes 70 % of it
CELL = "td[data-column='origin_arrivals__mean_delay_3h']:nth-last-child(11)"
_STARTS = 120.0  # seconds
_DEADLINE = 600.0  # seconds
_ADDRESS = re.compile(r"^dashboard: (http\S+)", re.MULTILINE)
_KEPT = "Ctrl-C ends"


def main() -> int:
    """Take all pictures."""
    with _demo() as log, chromium_tab(DEMO.parent / "pictures") as tab:
        address = _await(log, _ADDRESS, _STARTS)[-1]
        _show(tab, address, "overview")
        tab.wait(f"{_fact('predictions')} > {FLIGHTS - LIVE_EVENTS}", _DEADLINE)
        tab.picture(DOCS / "dashboard-overview.png", WIDTH, 860)
        _await(log, re.compile(_KEPT), _DEADLINE)
        address = _await(log, _ADDRESS, _STARTS)[-1]  # the flows and the dashboard have been started again
        _show(tab, address, "metrics")
        tab.wait("document.querySelectorAll('.main-svg').length > 0")
        tab.picture(DOCS / "dashboard.png", WIDTH, 1160)
        _show(tab, address, "drift")
        tab.wait(f'document.querySelector("{CELL}") !== null', _DEADLINE)
        tab.run(f'document.querySelector("{CELL}").click()')
        tab.wait("document.querySelector('#distributions .main-svg') !== null")
        tab.picture(DOCS / "dashboard-drift.png", WIDTH, 1440)
    return 0


@contextmanager
def _demo() -> Iterator[Path]:
    """Run the demo for the block, and keep its flows after it; yield the file of its output."""
    log = DEMO.parent / "pictures.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "scripts.tools.demo", "--keep"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=output)
    try:
        yield log
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _await(log: Path, wanted: re.Pattern[str], seconds: float) -> list[str]:
    """Return what the output says, once it does."""
    deadline = time.monotonic() + seconds
    while not (found := wanted.findall(log.read_text())):
        if time.monotonic() > deadline:
            raise SystemExit(f"the demo did not say {wanted.pattern!r}; see {log}")
        time.sleep(0.1)
    return found


def _show(tab: Tab, address: str, view: str) -> None:
    """Open a view, and wait until it has read."""
    tab.size(WIDTH, WINDOW)
    tab.open("about:blank")
    tab.open(f"{address}/#/{view}/{PIPELINE}")
    tab.wait("Number(document.getElementById('view')?.dataset.read ?? 0) > 0")


def _fact(name: str) -> str:
    """Return a script for the number that a figure of the overview shows."""
    text = f"document.querySelector(\"[data-fact='{name}']\")?.innerText"
    return f"Number(({text} ?? '0').split('\\n')[0].replaceAll(',', ''))"


if __name__ == "__main__":
    sys.exit(main())
