"""Loads Feast as this engine wants it: in 2 seconds, not 8. To be imported before anything of Feast's.

Most of Feast's import goes into run-time type checks, which typeguard compiles into its classes as they are
defined. The declarations that matter here are checked by `flows.adapters.feast.repo`.
"""

from typing import Any

import prometheus_client  # noqa: F401  first: Feast's import turns on its multiprocess mode
import typeguard


def _unchecked(target: Any = None, **_: Any) -> Any:
    """Stands for `typeguard.typechecked`, and leaves what it decorates as it is."""
    return _unchecked if target is None else target


_typechecked = typeguard.typechecked
typeguard.typechecked = _unchecked
try:
    import feast  # noqa: F401
finally:
    typeguard.typechecked = _typechecked
