"""Shows a page in Chromium."""

import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

from harness import unavailable

SECTIONS = ["summary", "dead-letters", "metrics", "drift", "features", "calibration", "slices", "versions"]


class Page(HTMLParser):
    """Counts sections, classes, tags and loaded URLs in the DOM of a browser."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.classes: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags[tag] += 1
        self.classes.update((given.get("class") or "").split())
        if tag == "section":
            self.sections.append(given["id"])
        self.loads += [given[name] for name in ("src", "href") if name in given]


def chromium(page: Path, *options: str) -> tuple[str, list[str]]:
    """Return the output of Chromium for a page, and the lines of its console."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        unavailable("Chromium is not installed: the report's page was not looked at")
    command = [binary, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [*command, profile, *options, page.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
