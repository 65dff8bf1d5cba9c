"""The facts that need no log: the purpose of a pipeline."""

from pathlib import Path

from flows.jobs.models.facts import purpose
from flows.pipelines.flight_delays import pipeline
from flows.runtime.project import Project


def test_the_purpose_is_the_first_paragraph_of_the_modules_docstring() -> None:
    modules = ("flows.pipelines.flight_delays",)
    project = Project(Path(), Path(), {pipeline.name: pipeline}, modules)
    found = purpose(project, pipeline.name)
    assert found.startswith("Will a flight from New York City arrive more than 15 minutes late?")
    assert found.endswith("scheduled departure.")
    assert purpose(Project(Path(), Path(), {"p": pipeline}, ("tests",)), "p") == ""
