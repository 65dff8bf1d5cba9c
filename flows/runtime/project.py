"""Loads a project: a directory with a feature repository and pipelines, named in its TOML file."""

import importlib
import os
import stat
import sys
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from flows.core.declaration import collision_name
from flows.core.user_code import describe
from flows.errors import ConfigError
from flows.pipeline import Pipeline

_KEYS = ("feature_repo", "pipelines")
ROOT = 0  # uid


@dataclass(frozen=True)
class Project:
    """The directory of a project, its Feast repository, and its pipelines by name."""

    directory: Path
    feature_repo: Path
    pipelines: Mapping[str, Pipeline]
    modules: tuple[str, ...]

    def pipeline(self, name: str = "") -> Pipeline:
        """Return the pipeline called `name`, by default the only one; raises `ConfigError`."""
        if not name and len(self.pipelines) == 1:
            return next(iter(self.pipelines.values()))
        if name not in self.pipelines:
            what = f"there is no pipeline {name!r}" if name else "the project has several pipelines"
            choice = ", ".join(sorted(self.pipelines))
            raise ConfigError(f"{what}; choose with --pipeline or DRIFTLINE_PIPELINE among: {choice}")
        return self.pipelines[name]


def find_project(start: Path) -> Path:
    """Return the closest directory, from `start` upwards, that is a project.

    A project's modules are imported, so one in a parent directory must be the user's own or root's. Raises
    `ConfigError`.
    """
    for directory in (start, *start.parents):
        found = _declaration(directory)
        if found is not None:
            if directory != start:
                _check_owner(directory, found[1])
            return directory
    raise ConfigError(
        f"{start} is not in a Driftline project: add a [tool.driftline] table with feature_repo and "
        "pipelines to pyproject.toml, or a driftline.toml"
    )


def load_project(directory: Path) -> Project:
    """Import the pipelines of the project in `directory`, and return it; raises `ConfigError`."""
    table = _table(directory)
    if table is None:
        raise ConfigError(f"{directory} has no [tool.driftline] table and no driftline.toml")
    modules = table.get("pipelines")
    if not isinstance(modules, list) or not modules or not all(isinstance(m, str) for m in modules):
        raise ConfigError('[tool.driftline] must name the pipelines\' modules, as pipelines = ["my.module"]')
    feature_repo = directory / str(table.get("feature_repo", "feature_repo"))
    if not feature_repo.is_dir():
        raise ConfigError(f"[tool.driftline] feature_repo: there is no directory {feature_repo}")
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    pipelines: dict[str, Pipeline] = {}
    for module in modules:
        pipeline = _pipeline(module)
        if pipeline.name in pipelines:
            raise ConfigError(f"two pipelines are called {pipeline.name!r}; give each its own name")
        pipelines[pipeline.name] = pipeline
    _check_topics(pipelines.values())
    return Project(directory, feature_repo, pipelines, tuple(modules))


def _check_topics(pipelines: Collection[Pipeline]) -> None:
    """Raise `ConfigError` if two pipelines would write one topic, or Kafka would refuse a topic's name."""
    writers: dict[str, Pipeline] = {}
    for pipeline in pipelines:
        for topic in pipeline.output_topics:
            other = writers.setdefault(collision_name(topic), pipeline)
            if other is not pipeline:
                raise ConfigError(
                    f"pipelines {other.name!r} and {pipeline.name!r} would both write {topic!r}: Kafka "
                    "treats '.' and '_' in names as equal; rename one of them"
                )
    for pipeline in pipelines:
        for stream in pipeline.input_streams:
            other = writers.get(collision_name(stream.topic), pipeline)
            if other is not pipeline and stream.topic not in other.output_topics:
                raise ConfigError(
                    f"pipeline {pipeline.name!r} reads topic {stream.topic!r}, whose name differs only in "
                    f"'.' and '_' from a topic that pipeline {other.name!r} writes; Kafka refuses that, so "
                    "rename one"
                )


def _check_owner(directory: Path, file: Path) -> None:
    """Raise `ConfigError` if another user could have put a project above the working directory."""
    for path in (directory, file):
        status = path.stat()
        if status.st_uid not in (os.geteuid(), ROOT) or status.st_mode & stat.S_IWOTH:
            raise ConfigError(
                f"a project in a parent directory must be owned by you or root and writable by nobody else, "
                f"got {path} of uid {status.st_uid} with mode {stat.S_IMODE(status.st_mode):04o}; its "
                f"modules were not imported. If you trust it, run the command in {directory}"
            )


def _table(directory: Path) -> dict[str, Any] | None:
    found = _declaration(directory)
    return None if found is None else found[0]


def _declaration(directory: Path) -> tuple[dict[str, Any], Path] | None:
    """Return the project's table and the file that holds it."""
    for name in ("driftline.toml", "pyproject.toml"):
        file = directory / name
        if file.is_file():
            content = _parse(file)
            table = content if name == "driftline.toml" else _driftline(content)
            if table is not None:
                return _checked(table, file), file
    return None


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None


def _driftline(pyproject: Mapping[str, Any]) -> Any:
    tools = pyproject.get("tool")
    return tools.get("driftline") if isinstance(tools, dict) else None


def _checked(table: Any, file: Path) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: tool.driftline must be a table, [tool.driftline]")
    for key in table:
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(_KEYS)}"
            raise ConfigError(f"{file}: unknown key {key!r}; {advice}")
    return table


def _pipeline(module: str) -> Pipeline:
    try:
        imported = importlib.import_module(module)
    except ConfigError:  # it has the place of the declaration
        raise
    except Exception as error:  # a declaration is the user's code
        raise ConfigError(
            f"[tool.driftline] pipelines: cannot import {module!r}: {describe(error)}"
        ) from error
    if not hasattr(imported, "pipeline"):
        where = getattr(imported, "__file__", None) or "a namespace package"
        raise ConfigError(f"[tool.driftline] pipelines: {module!r} ({where}) defines no `pipeline`")
    pipeline = imported.pipeline
    if not isinstance(pipeline, Pipeline):
        raise ConfigError(
            f"{module}.pipeline must be a flows.pipeline.Pipeline, not {type(pipeline).__name__}"
        )
    _check_model(pipeline)
    return pipeline


def _check_model(pipeline: Pipeline) -> None:
    try:
        pipeline.new_model()
    except ConfigError:
        raise
    except Exception as error:  # a declaration is the user's code
        raise ConfigError(
            f"pipeline {pipeline.name!r}: its model cannot be made: {describe(error)}"
        ) from error
