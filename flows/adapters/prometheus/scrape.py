"""Reads the metrics that a flow serves."""

from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT = 1.0  # seconds


class Sample(NamedTuple):
    """One value of a metric."""

    labels: Mapping[str, str]
    value: float


class Scraped:
    """What a process said: its metrics, and what it waits for."""

    def __init__(self, text: str, waits_for: str | None) -> None:
        self.waits_for = waits_for
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(Sample(sample.labels, sample.value))

    def samples(self, name: str) -> list[Sample]:
        """Return the values of a metric."""
        return self._samples.get(name, [])

    def runs(self, pipeline: str, flow: str) -> bool:
        """Return whether the process runs the flow of the pipeline."""
        wanted = {"pipeline": pipeline, "flow": flow}
        return any(wanted.items() <= each.labels.items() for each in self.samples("driftline_process_info"))

    def total(self, name: str) -> float:
        """Return the sum of the values of a metric."""
        return sum(each.value for each in self.samples(name))


def scrape(host: str, port: int) -> Scraped | None:
    """Return what the process at this address says; None if nothing answers."""
    try:
        _, metrics = _get(host, port, "/metrics")
        status, ready = _get(host, port, "/readyz")
        return Scraped(metrics, None if status == 200 else ready.strip())
    except (OSError, HTTPException, ValueError):
        return None


def _get(host: str, port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path, headers={"accept": "text/plain"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
