"""No features beside the event's own fields."""

from feast import FeatureService

ten_numbers = FeatureService(name="ten_numbers", features=[])
