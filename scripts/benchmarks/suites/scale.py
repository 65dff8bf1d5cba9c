"""Two processes of the predict flow against one, on ten numbers in two partitions."""

from collections.abc import Iterator, Mapping

from scripts.benchmarks.harness import ten_numbers
from scripts.benchmarks.harness.figures import WALL, Figure
from scripts.benchmarks.harness.processes import rate
from scripts.benchmarks.harness.site import BENCH, Site
from scripts.faults.servers import kafka

FOLDER = BENCH / "scale"
ENVIRONMENT = {"BENCH_MODEL": "other", "BENCH_PARTITIONS": "2"}


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds over `events` events; the numbers of processes take turns."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with kafka(FOLDER / "kafka") as url:
        sites = {
            "embedded log": ten_numbers.site(FOLDER / "embedded", "", ENVIRONMENT),
            "Kafka": ten_numbers.site(FOLDER / "project", url, ENVIRONMENT),
        }
        for name, site in sites.items():
            site.publish(ten_numbers.event_records(events))
            rates: Mapping[int, list[float]] = {1: [], 2: []}
            for _ in range(runs):
                for processes, measured in rates.items():
                    measured.append(_rate(site, processes, events))
            yield Figure(f"predict with two processes, {name}", "one process", WALL, rates[2], rates[1])


def _rate(site: Site, processes: int, events: int) -> float:
    site.forget("predict")
    with site.run("predict", "--processes", str(processes)) as program:
        return rate(program, site.predicted, events).wall
