"""The unit and adapter tests mirror the code: each test file is named after the module that it tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

TESTS = ROOT / "tests"
MOST = 15  # files in a folder, as in the code
# systems that unit tests do not touch; tests/unit/conftest.py watches what the code under test does
SYSTEMS = {"bytewax", "duckdb", "feast", "httpx", "redis", "socket", "sqlite3", "subprocess"}

# tests of no single module, with the subject that they are named after
SUBJECTS = {
    "unit/test_mirror.py": "the tests themselves",
    "unit/backtest/test_backtest_tasks.py": "test_backtest.py for the data sets of River",
    "adapters/kafka/test_transactions.py": "a broker and the flows' source over transactions of others",
    "adapters/sqlite/test_newest_sequence.py": "a function of the model publisher, on the embedded log",
    "adapters/feast/test_batch_views.py": "one kind of Feast's views, from the declaration to the flows",
    "adapters/feast/test_on_demand_views.py": "another kind",
    "adapters/feast/test_numbers.py": "the numbers that all stores and readers take",
    "adapters/feast/test_card_fraud.py": "a pipeline, whose features Feast computes too",
    "adapters/feast/test_flight_delays_leak.py": "a pipeline, over the plan that Feast compiles",
}
HOMES = {"unit": ("flows", ""), "adapters": ("flows/adapters", "flows/runtime", "flows/host")}


def files(lane: str) -> Iterator[str]:
    return (str(file.relative_to(TESTS)) for file in sorted((TESTS / lane).rglob("test_*.py")))


def modules(test: str) -> Iterator[Path]:
    """Yield the modules and packages that a test file may be named after."""
    lane, _, place = test.partition("/")
    for home in HOMES[lane]:
        path = ROOT / home / place
        module = path.with_name(path.name.removeprefix("test_"))
        yield from (module, module.with_suffix("") / "__init__.py")


@pytest.mark.parametrize("test", [test for lane in HOMES for test in files(lane)])
def test_each_test_file_is_named_after_a_module_or_a_listed_subject(test):
    assert test in SUBJECTS or any(module.exists() for module in modules(test))


@pytest.mark.parametrize("test", SUBJECTS)
def test_each_listed_file_exists(test):
    assert (TESTS / test).exists()


@pytest.mark.parametrize("test", list(files("unit")))
def test_a_unit_test_imports_no_system(test):
    tree = ast.parse((TESTS / test).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} & SYSTEMS == set()


def test_no_folder_of_tests_has_more_files_than_one_of_the_code():
    folders = {file.parent for file in TESTS.rglob("*.py")}
    assert [folder for folder in folders if len(list(folder.glob("*.py"))) > MOST] == []
