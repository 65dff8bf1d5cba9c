"""Data quality: nulls, values out of range, unseen categories and the rate of events, by interval.

The first intervals in which a column's windows are full are its reference; each later interval is compared
with it. A share of bad values raises an alarm if it rose by enough, and by more than chance and the variation
between intervals explain: a fault in a source breaks many values at once. With a period, rate and shares are
compared with those of the same part of the period, since many windows are empty after a night without events.

A condition that lasts as long as the warm-up becomes normal: a second reference is learned from the first bad
interval on, and dropped if a whole period had no finding. Intervals without a finding do not change the
reference, so a slow change adds up until it is found.
"""

from flows.core.drift.quality.detector import DataQuality, QualityAlarm
from flows.core.drift.quality.policy import MOST_CATEGORIES, RATE, Column, Fault, Finding, QualityPolicy

__all__ = [
    "MOST_CATEGORIES",
    "RATE",
    "Column",
    "DataQuality",
    "Fault",
    "Finding",
    "QualityAlarm",
    "QualityPolicy",
]
