"""Imports Feast in 0.8 seconds instead of 8; must be imported before any other module of Feast.

Most of Feast's import time is spent by typeguard, which compiles run-time type checks into its classes. The
engine does not need them: `flows.adapters.feast.compiler` checks the declarations. Nor does it need Feast's
servers and its registry in an SQL database, with FastAPI and SQLAlchemy, which are loaded on first use.
"""

from typing import Any

import prometheus_client  # noqa: F401  first: Feast's import turns on its multiprocess mode
import typeguard

from flows.core.lazy_modules import loaded_later

_SLOW = (
    "fastapi",
    "fastapi.concurrency",
    "feast.feature_server",
    "feast.infra.registry.sql",
    "feast.ui_server",
)


def _unchecked(target: Any = None, **_: Any) -> Any:
    """Replace `typeguard.typechecked`; return the decorated object unchanged."""
    return _unchecked if target is None else target


_typechecked = typeguard.typechecked
typeguard.typechecked = _unchecked
try:
    with loaded_later(_SLOW):
        import feast  # noqa: F401
finally:
    typeguard.typechecked = _typechecked
