"""The collector of the models in service."""

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class ModelInfo(Collector):
    """The versions in service, by their role.

    A Gauge would keep retired versions, and clearing one emits a warning when Feast is imported.
    """

    roles: Mapping[str, str] = {}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "driftline_model_info",
            "Always 1; the labels name each model in service and its role (champion or challenger).",
            labels=["version", "role"],
        )
        for version, role in self.roles.items():
            family.add_metric([version, role], 1)
        yield family
