"""The dashboard of a served project in a tab."""

from collections.abc import Callable
from typing import NamedTuple

import orjson
from harness import Project
from served import Server

from scripts.tools.chromium import Tab
from scripts.tools.dashboard_view import open_view

NAME = "flight_delays"
PHONE = 360  # pixels
VIEWS = ["overview", "metrics", "quality", "drift", "models", "prediction", "letters"]


class World(NamedTuple):
    """A project, a server of it, and a tab."""

    project: Project
    server: Server
    tab: Tab


def show(world: World, view: str) -> Tab:
    """Open a view, and wait until it has read."""
    open_view(world.tab, world.server.url, view, NAME)
    return world.tab


def seen_on_a_phone(tab: Tab, opened: Callable[[], object]) -> list[tuple[int, list[str]]]:
    """Return, light and dark, how wide (pixels) what is opened is, and its texts with too little contrast."""
    found = []
    tab.size(PHONE, 740)
    try:
        for scheme in ("light", "dark"):
            tab.scheme(scheme)
            opened()
            found.append((tab.run("document.documentElement.scrollWidth"), tab.run(CONTRAST)))
    finally:
        tab.size(1200, 900)
        tab.scheme("light")
    return found


def use_token(world: World, name: str, *scopes: str) -> None:
    """Make a token, and let the page use it."""
    options = [part for scope in scopes for part in ("--scope", scope)]
    made = world.project.run("tokens", "create", name, *options)
    assert made.returncode == 0, made.stderr
    world.tab.open(world.server.url)
    world.tab.wait("document.readyState === 'complete'")
    world.tab.run(f"sessionStorage.setItem('driftline-token', '{made.stdout.strip()}')")


def order(tab: Tab, button: str, reason: str) -> None:
    """Press a button, and send its command with a reason."""
    tab.wait(f"document.querySelector({quoted(button)}) !== null")
    tab.run(f"document.querySelector({quoted(button)}).click()")
    tab.wait("document.getElementById('command').open")
    tab.run(f"document.getElementById('command-reason').value = {quoted(reason)}")
    tab.run("document.querySelector('#command button[value=send]').click()")


def rows(tab: Tab, section: str) -> list[list[str]]:
    """Return the cells of the first table of a section."""
    found = tab.run(
        f"[...document.querySelectorAll(\"[data-section='{section}'] table\")[0].tBodies[0].rows]"
        ".map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    assert isinstance(found, list)
    return found


def quoted(text: str) -> str:
    """Return a text as a literal of a script."""
    return orjson.dumps(text).decode()


# the texts of elements whose contrast to the background behind them is below 4.5
CONTRAST = """
(() => {
  const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parsed(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *:not(svg *, script, style, option)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.offsetParent) continue;
    const one = light(parsed(getComputedStyle(element).color).slice(0, 3)), other = light(behind(element));
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push(`${element.textContent.trim()} ${contrast.toFixed(2)}`);
  }
  return faint;
})()
"""
