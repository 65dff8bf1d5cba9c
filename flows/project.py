"""A project: a directory whose pyproject.toml or driftline.toml names a feature repository and pipelines."""

import importlib
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.core.user_code import describe
from flows.errors import ConfigError
from flows.pipeline import Pipeline


@dataclass(frozen=True)
class Project:
    """Where the project is, where its Feast repository is, and its pipelines by name."""

    directory: Path
    feature_repo: Path
    pipelines: Mapping[str, Pipeline]
    modules: tuple[str, ...]

    def pipeline(self, name: str = "") -> Pipeline:
        """The pipeline called `name`, or the only one; raises `ConfigError` with the choice there is."""
        if not name and len(self.pipelines) == 1:
            return next(iter(self.pipelines.values()))
        if name not in self.pipelines:
            what = f"there is no pipeline {name!r}" if name else "the project has several pipelines"
            choice = ", ".join(sorted(self.pipelines))
            raise ConfigError(f"{what}; choose with --pipeline or DRIFTLINE_PIPELINE among: {choice}")
        return self.pipelines[name]


def find(start: Path) -> Path:
    """The closest directory, from `start` upwards, that is a project; raises `ConfigError`."""
    for directory in (start, *start.parents):
        if _table(directory) is not None:
            return directory
    raise ConfigError(
        f"{start} is not in a Driftline project: add a [tool.driftline] table with feature_repo and "
        "pipelines to pyproject.toml, or a driftline.toml"
    )


def load(directory: Path) -> Project:
    """The project in `directory`, its pipelines imported; raises `ConfigError`."""
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
    return Project(directory, feature_repo, pipelines, tuple(modules))


def _table(directory: Path) -> dict[str, Any] | None:
    for name in ("driftline.toml", "pyproject.toml"):
        file = directory / name
        if file.is_file():
            content = _parse(file)
            table = content if name == "driftline.toml" else _driftline(content)
            if table is not None:
                return _checked(table, file)
    return None


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no valid TOML: {error}") from None


def _driftline(pyproject: Mapping[str, Any]) -> Any:
    tools = pyproject.get("tool")
    return tools.get("driftline") if isinstance(tools, dict) else None


def _checked(table: Any, file: Path) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: tool.driftline must be a table, [tool.driftline]")
    return table


def _pipeline(module: str) -> Pipeline:
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # a declaration is the user's code
        raise ConfigError(
            f"[tool.driftline] pipelines: cannot import {module!r}: {describe(error)}"
        ) from error
    if not hasattr(imported, "pipeline"):
        raise ConfigError(f"[tool.driftline] pipelines: {module!r} defines no `pipeline`")
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
