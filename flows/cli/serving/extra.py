"""The packages of the extra `serve`."""

from importlib.util import find_spec

from flows.errors import ConfigError

ADVICE = "run `pip install 'driftline[serve]'`"
_PACKAGES = ("fastapi", "uvicorn", "plotly")


def missing() -> list[str]:
    """Return the packages of the extra that are not installed."""
    return [package for package in _PACKAGES if find_spec(package) is None]


def check_installed() -> None:
    """Raise `ConfigError` unless the extra is installed."""
    if names := missing():
        raise ConfigError(f"the server needs {', '.join(names)}; {ADVICE}")
