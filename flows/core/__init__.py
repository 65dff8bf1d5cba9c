import flows.core.quick_river  # noqa: F401  before any module loads River
