"""Feature and prediction drift: windows of served rows compared with a reference window.

The first rows are the reference. Each full window is compared with it, column by column; after an alarm a new
reference starts. A column has drifted if the difference is both significant and large:

- Significant: by the Kolmogorov-Smirnov test for numbers and the chi-square test for categories, over the
  effective number of rows. Consecutive rows are correlated: with an autocorrelation of 0.9, 19 rows carry the
  information of one independent row. The factor is estimated from the variance of block means in the
  reference; dividing chi-square by it is the first-order correction of Rao and Scott (1984). The p-values of
  all columns are adjusted by the procedure of Benjamini and Hochberg (1995). Without drift it bounds the
  probability of any alarm, as Bonferroni's correction does. With drift it bounds the share of wrongly named
  columns, and so finds more of the right ones.
- Large: by the population stability index (PSI) of ten bins, or of the categories. By convention 0.1 is a
  warning and 0.25 an alarm. With many rows every difference is significant, but not every one matters.

With a period, such as a day, each window is compared with reference rows of the same phases, so a window of
nights is no drift. Nulls are ignored here; data quality covers them. The prediction is a column like any
other: a separate detector over it finds prediction drift.
"""

from flows.core.drift.features.detector import FeatureDrift
from flows.core.drift.features.policy import ComparedWindow, DriftedColumn, FeatureAlarm, FeaturePolicy
from flows.core.drift.features.reference import KEPT

__all__ = ["KEPT", "ComparedWindow", "DriftedColumn", "FeatureAlarm", "FeatureDrift", "FeaturePolicy"]
