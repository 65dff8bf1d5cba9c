"""A module that is put off is loaded when what was taken from it is first used."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.core.lazy_modules import loaded_later


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package `slow_one` with the module `part`, and the module `user_of_slow` that imports both."""
    (tmp_path / "slow_one").mkdir()
    (tmp_path / "slow_one" / "__init__.py").write_text("")
    (tmp_path / "slow_one" / "part.py").write_text("def double(x): return 2 * x\nclass Box: size = 7\n")
    (tmp_path / "user_of_slow.py").write_text(
        "import slow_one.part\nfrom slow_one import part\nfrom slow_one.part import Box, double\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("user_of_slow", "slow_one", "slow_one.part"):
        sys.modules.pop(name, None)


NAMES = ("slow_one", "slow_one.part")


@pytest.mark.usefixtures("package")
def test_it_is_not_loaded_until_a_function_or_attribute_of_it_is_used() -> None:
    with loaded_later(NAMES):
        user = importlib.import_module("user_of_slow")
    assert not set(NAMES) & set(sys.modules)
    assert user.double(4) == 8
    assert set(NAMES) <= set(sys.modules)
    assert (user.Box.size, user.part.double(3), user.slow_one.part.Box().size) == (7, 6, 7)


@pytest.mark.usefixtures("package")
def test_a_module_that_is_loaded_stays_as_it_is() -> None:
    part = importlib.import_module("slow_one.part")
    with loaded_later(NAMES):
        user = importlib.import_module("user_of_slow")
    assert sys.modules["slow_one.part"] is part
    assert user.double is part.double


@pytest.mark.usefixtures("package")
def test_after_an_error_the_modules_can_be_imported() -> None:
    with pytest.raises(ZeroDivisionError), loaded_later(NAMES):
        raise ZeroDivisionError
    assert importlib.import_module("slow_one.part").double(1) == 2
