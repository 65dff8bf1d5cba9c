"""Loads River without SciPy, in a third of the time and half of the memory. Import it before River.

River imports SciPy and SQLAlchemy for a few metrics, tests, models and readers. Both take longer to load than
River itself, so they are loaded when one of these is first used.
"""

import sys

import numpy as np

from flows.core.lazy_modules import loaded_later

_SLOW = (
    "scipy",
    "scipy.integrate",
    "scipy.io",
    "scipy.io.arff",
    "scipy.io.arff._arffread",
    "scipy.ndimage",
    "scipy.sparse",
    "scipy.special",
    "scipy.stats",
    "sklearn",  # if it is installed, for a reader of its data sets
    "sklearn.utils",
    "sqlalchemy",
)


class _Integrate:
    """Replaces `scipy.integrate` in the area under a ROC curve, which each assessment computes."""

    trapezoid = staticmethod(np.trapezoid)


_is_loaded = "scipy" in sys.modules
with loaded_later(_SLOW):
    if not _is_loaded:
        sys.modules["scipy"].integrate = _Integrate  # type: ignore[attr-defined]
    from river import drift, metrics, preprocessing  # noqa: F401  they import most other modules
