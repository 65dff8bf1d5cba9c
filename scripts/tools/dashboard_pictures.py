"""Takes the pictures of the dashboard in docs/ from `scripts/demo`; the files are replaced.

The overview is taken while the last flights are published one by one, the other views when all are learned.
"""

import re
import sys

import psutil

from scripts.benchmarks.harness.processes import running, wait_for
from scripts.tools.chromium import Tab, chromium_tab
from scripts.tools.dashboard_view import fact, open_view
from scripts.tools.demo import DEMO, LIVE_EVENTS
from scripts.tools.fresh import REPOSITORY

DOCS = REPOSITORY / "docs"
LOG = DEMO.parent / "pictures.log"
FLIGHTS = 336_776  # a year
PIPELINE = "flight_delays"
WIDTH = 1280  # pixels
WINDOW = 640  # pixels; the heat map takes 70 % of it
CELL = "td[data-column='origin_arrivals__mean_delay_3h']:nth-last-child(11)"
_ADDRESS = re.compile(r"^dashboard: (http\S+)", re.MULTILINE)


def main() -> int:
    """Take all pictures."""
    LOG.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "scripts.tools.demo", "--keep"]
    with running(command, REPOSITORY, {}, LOG) as demo, chromium_tab(DEMO.parent / "pictures") as tab:
        tab.size(WIDTH, WINDOW)
        wait_for(demo, lambda: bool(_ADDRESS.search(LOG.read_text())))
        _overview(demo, tab)
        wait_for(demo, lambda: "Ctrl-C ends" in LOG.read_text())  # the flows run again, with all learned
        _metrics(tab)
        _drift(tab)
    return 0


def _overview(demo: psutil.Popen, tab: Tab) -> None:
    _open(tab, "overview")
    wait_for(demo, lambda: int(fact(tab, "predictions").replace(",", "")) > FLIGHTS - LIVE_EVENTS, poll=0.1)
    tab.picture(DOCS / "dashboard-overview.png", WIDTH, 860)


def _metrics(tab: Tab) -> None:
    _open(tab, "metrics")
    tab.wait("document.querySelectorAll('.main-svg').length > 0")
    tab.picture(DOCS / "dashboard.png", WIDTH, 1160)


def _drift(tab: Tab) -> None:
    _open(tab, "drift")
    tab.wait(f'document.querySelector("{CELL}") !== null')
    tab.run(f'document.querySelector("{CELL}").click()')
    tab.wait("document.querySelector('#distributions .main-svg') !== null")
    tab.picture(DOCS / "dashboard-drift.png", WIDTH, 1440)


def _open(tab: Tab, view: str) -> None:
    """Open a view of the dashboard at the address that the demo printed last."""
    open_view(tab, _ADDRESS.findall(LOG.read_text())[-1], view, PIPELINE)


if __name__ == "__main__":
    sys.exit(main())
