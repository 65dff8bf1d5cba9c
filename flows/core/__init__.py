"""The pure core: no I/O, no wall clock, no environment."""

import flows.core.models.quick_river  # noqa: F401  before any module loads River
