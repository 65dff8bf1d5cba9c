"""The flight_delays example with three partitions, and flights for it."""

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
    """Return the project with this pipeline; its topics do not exist yet."""
    (project.directory / "three.py").write_text(MODULE)
    (project.directory / "driftline.toml").write_text(
        'feature_repo = "feature_repo"\npipelines = ["three", "flows.pipelines.flight_delays"]\n'
    )
    plans = project.directory / ".driftline" / "plans"
    shutil.copy(plans / "flight_delays.json", plans / "parted.json")
    return project.with_settings(PIPELINE="parted")


def flights(first: int, last: int) -> list[Outgoing]:
    """Return flights and departures; partitions share no entities, since they have no common order."""
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
    """Return the features of each prediction on the topic, by event id."""
    return {p["id"]: p["features"] for p in project.values("predictions")}
