"""Errors in the user's code: place, traceback, and one log entry per line."""

import logging
from collections.abc import Callable
from math import nan
from types import ModuleType
from typing import Any

import pytest
from river import compose, linear_model, preprocessing

from flows.core.models.model import Model
from flows.core.user_code import describe, place_of
from flows.host.printable import PrintableFormatter
from flows.runtime.user_faults import FaultLog, fault_of, trace

SOURCE = """
def prepare(x):
    return {"a": x["a"] * itmes}


def also(x):
    return {"a": len(x["a"])}
"""


@pytest.fixture
def module(tmp_path) -> ModuleType:
    """A module of a user, in a file of its own."""
    file = tmp_path / "late_orders.py"
    file.write_text(SOURCE)
    made = ModuleType("late_orders")
    exec(compile(SOURCE, str(file), "exec"), made.__dict__)  # noqa: S102 (the test's own code)
    return made


def raised(do: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever it is)
        do()
    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # without this file, which is no engine
    return error


def scored(function: Any, value: Any = 1.0) -> Exception:
    steps = compose.FuncTransformer(function) | preprocessing.StandardScaler()
    return raised(lambda: Model("v1", steps | linear_model.LogisticRegression()).score({"a": value}))


def test_the_place_is_the_users_line_though_river_called_it(module):
    error = scored(module.prepare)
    assert str(place_of(error)) == "late_orders.py, line 3, in prepare"
    assert describe(error) == ("NameError: name 'itmes' is not defined (late_orders.py, line 3, in prepare)")


def test_the_traceback_begins_behind_the_engine_and_ends_in_the_users_line(module):
    shown = trace(scored(module.prepare))
    assert shown.startswith("Traceback (most recent call last):\n")
    assert "flows/core" not in shown
    assert 'late_orders.py", line 3, in prepare\n' in shown
    assert shown.endswith("NameError: name 'itmes' is not defined")


def test_without_a_line_of_the_users_the_place_is_the_packages():
    model = Model("v1", preprocessing.StandardScaler() | linear_model.LogisticRegression())
    assert model.learn({"a": 1.0}, True) is model.learn({"a": 2.0}, False) is None
    error = raised(lambda: model.score({"a": "text"}))
    assert place_of(error).file.endswith("scale.py")
    assert "site-packages/river" in trace(error)


def test_what_the_engine_itself_refuses_has_no_place_and_no_traceback():
    error = scored(dict, nan)
    assert place_of(error) is None
    assert describe(error) == "ArithmeticError: feature 'a' is nan"
    assert trace(error) == ""
    assert fault_of(error) == ("ArithmeticError: feature 'a' is nan", None, None, None, "")


def test_each_failing_line_is_logged_once_with_its_traceback(module, caplog):
    log = FaultLog(logging.getLogger("driftline.test"))
    with caplog.at_level(logging.ERROR, "driftline.test"):
        for _ in range(3):
            log(scored(module.prepare))
            log(scored(module.also))
            log(scored(dict, nan))
    said = [PrintableFormatter("%(message)s").format(record) for record in caplog.records]
    assert len(said) == 3
    assert said[0].startswith("NameError: name 'itmes' is not defined (late_orders.py, line 3, in prepare); ")
    assert 'late_orders.py", line 3, in prepare' in said[0]
    assert 'late_orders.py", line 7, in also' in said[1]
    assert "logged once\nTraceback (most recent call last):\n  File " in said[0]
    assert "no line of your own" in said[2]
    assert "Traceback" not in said[2]
