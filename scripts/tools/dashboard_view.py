"""A view of the dashboard in a tab."""

from scripts.tools.chromium import Tab


def open_view(tab: Tab, address: str, view: str, pipeline: str) -> None:
    """Open a view, and wait until it has read."""
    tab.open("about:blank")  # else only the fragment changes, and the page stays
    tab.errors.clear()
    tab.open(f"{address}/#/{view}/{pipeline}")
    tab.wait("Number(document.getElementById('view')?.dataset.read ?? 0) > 0")


def fact(tab: Tab, name: str) -> str:
    """Return the value of a figure of the overview."""
    return tab.text(f"[data-fact='{name}']").splitlines()[0]
