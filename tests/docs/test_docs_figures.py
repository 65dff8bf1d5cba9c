"""Figures, defaults and trees in the documentation equal those of the code."""

import ast
import importlib
import re
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import errors
from flows.core.models.tasks import TASKS
from flows.errors import DriftlineError, InvalidRecord, InvalidRequest, NotAllowed
from flows.pipeline import Pipeline
from flows.settings import SETTINGS
from tests.docs.test_docs import PAGES, REFERENCE, ROOT, table

MARK = re.compile(r"<!-- = (\S+)(?: (ms|s))? -->")  # behind a figure: the name of its value, and the unit
UNITS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}


def value_of(name: str) -> Any:
    """Return the value of a constant, of a default in a class, or of a setting."""
    if name.startswith("DRIFTLINE_"):
        default = next(s.default for s in SETTINGS if s.name == name)
        return float(default) if "." in default else int(default)
    parts = name.split(".")
    at = next(n for n in range(len(parts), 0, -1) if (ROOT / "/".join(parts[:n])).with_suffix(".py").exists())
    found: Any = importlib.import_module(".".join(parts[:at]))
    for part in parts[at:]:
        defaults = getattr(found, "_field_defaults", {})
        found = defaults[part] if part in defaults else getattr(found, part)
    return found


def written(value: Any, unit: str = "") -> str:
    """Return the value as the pages write it.

    >>> written(50_000), written(3_600_000, "ms"), written(10.0), written(timedelta(days=7))
    ('50,000', 'an hour', '10', '7 days')
    """
    if unit:
        value = timedelta(**{"milliseconds" if unit == "ms" else "seconds": value})
    if isinstance(value, timedelta):
        name, length = next((n, length) for n, length in UNITS.items() if value % length == timedelta(0))
        count = value // length
        return f"{count} {name}s" if count > 1 else f"{'an' if name == 'hour' else 'a'} {name}"
    return f"{value:g}" if isinstance(value, float) else f"{value:,}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_marked_figure_is_that_of_the_code(page: Path) -> None:
    text = page.read_text()
    for mark in MARK.finditer(text):
        expected = written(value_of(mark[1]), mark[2] or "")
        said = text[: mark.start()]
        assert re.search(rf"(?<![\w.,]){re.escape(expected)}$", said), (mark[0], expected, said[-20:])


def test_the_pages_mark_their_figures() -> None:
    assert sum(len(MARK.findall(page.read_text())) for page in PAGES) > 40


def test_the_defaults_of_a_declaration_are_those_of_the_pipeline() -> None:
    documented = {
        name.strip("` "): default.strip("`")
        for names, default, _ in table(REFERENCE, "declaration")
        for name in names.split(",")
    }
    assert documented == {field.name: _default(field) for field in fields(Pipeline)}


def _default(field: Any) -> str:
    if field.name == "metrics":
        return "those of the task"
    if field.default_factory is not MISSING:
        return _shown(field.default_factory())
    return "" if field.default is MISSING else _shown(field.default)


def _shown(value: Any) -> str:
    if is_dataclass(value):
        arguments = (f"{f.name}={_argument(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({', '.join(arguments)})"
    if value in (None, ()):
        return "none"
    return f'"{value}"' if isinstance(value, str) else written(value)


def _argument(value: Any) -> str:
    if isinstance(value, timedelta) and not value.days:
        return f"{value.seconds // 60} minutes"
    if isinstance(value, timedelta):
        return f"{value.days} day{'s' if value.days > 1 else ''}"
    return repr(value).replace("'", '"')


def test_the_target_of_each_task_is_that_of_the_code() -> None:
    documented = {name.strip("`"): target.strip("`") for name, target, *_ in table(REFERENCE, "tasks")}
    assert documented == {name: task.target.__name__ for name, task in TASKS.items()}


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    drawn: list[tuple[int, str]] = [
        (len(found[1]) // 4, found[2])
        for line in (errors.__doc__ or "").splitlines()
        if (found := re.match(r"([│├└─ ]*)(\w+)  ", line))
    ]
    roots = (DriftlineError, InvalidRecord, InvalidRequest, NotAllowed)
    assert sorted(drawn) == sorted(each for root in roots for each in tree(root, 0))
    parents: list[str] = []
    for depth, name in drawn:
        parents[depth:] = [name]
        above = parents[depth - 1] if depth else "Exception"
        assert getattr(errors, name).__base__.__name__ == above


def tree(root: type, depth: int) -> list[tuple[int, str]]:
    return [(depth, root.__name__)] + [
        found
        for child in root.__subclasses__()
        if child.__module__ == "flows.errors"
        for found in tree(child, depth + 1)
    ]


def test_nobody_but_the_settings_reads_the_environment() -> None:
    users = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "flows").rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv")
            for node in ast.walk(ast.parse(file.read_text()))
        )
    }
    # MLflow reads its own settings when it is imported, so its adapter sets their defaults before
    assert users == {"flows/settings.py", "flows/adapters/mlflow/registry.py"}
