"""The example with three partitions, and flights for it."""

import shutil

from harness import Project
from made_flights import MINUTE, NOON, departure, event

from flows.core.stream.broker import Outgoing

PARTITIONS = 3
MODULE = """
from dataclasses import replace

from flows.pipelines import flight_delays

pipeline = replace(flight_delays.pipeline, name="parted", partitions=3)
"""


def in_partitions(project: Project) -> Project:
    """The project with that pipeline; it has no topics yet."""
    (project.directory / "three.py").write_text(MODULE)
    (project.directory / "driftline.toml").write_text(
        'feature_repo = "feature_repo"\npipelines = ["three", "flows.pipelines.flight_delays"]\n'
    )
    plans = project.directory / ".driftline" / "plans"
    shutil.copy(plans / "flight_delays.json", plans / "parted.json")
    return project.with_settings(PIPELINE="parted")


def flights(first: int, last: int) -> list[Outgoing]:
    """Flights and departures, each partition with entities of its own: no order among them is promised."""
    out: list[Outgoing] = []
    for number in range(first, last):
        own = number % PARTITIONS
        of = {"origin": f"O{own}", "carrier": f"C{own}", "destination": f"D{own}", "tail": f"N{own}"}
        time = NOON + number * MINUTE
        out.append(event(f"F{number:05}", time, **of)._replace(partition=own))
        left = departure(f"F{number:05}", time + 20 * MINUTE, number % 50, **of)
        out.append(left._replace(partition=own))
    return out


def served(project: Project) -> dict[str, list]:
    """The features of each prediction on the topic."""
    return {p["id"]: p["features"] for p in project.values("predictions")}
