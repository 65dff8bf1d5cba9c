"""Imports Feast in 2 seconds instead of 8; must be imported before any other module of Feast.

Most of Feast's import time is spent by typeguard, which compiles run-time type checks into its classes. The
engine does not need them: `flows.adapters.feast.compiler` checks the declarations.
"""

from typing import Any

import prometheus_client  # noqa: F401  first: Feast's import turns on its multiprocess mode
import typeguard


def _unchecked(target: Any = None, **_: Any) -> Any:
    """Replace `typeguard.typechecked`; return the decorated object unchanged."""
    return _unchecked if target is None else target


_typechecked = typeguard.typechecked
typeguard.typechecked = _unchecked
try:
    import feast  # noqa: F401
finally:
    typeguard.typechecked = _typechecked
