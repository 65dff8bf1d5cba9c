"""The versions of Python and of the packages that a model depends on."""

import platform
from importlib.metadata import version

PACKAGES = ("driftline", "river", "numpy")


def library_versions() -> dict[str, str]:
    """Return the versions by name, those of the packages first."""
    return {**{name: version(name) for name in PACKAGES}, "python": platform.python_version()}
