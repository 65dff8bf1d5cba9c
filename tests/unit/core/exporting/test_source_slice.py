"""The code of a function with all that it uses, and with nothing else."""

import pytest

from flows.core.exporting.source_slice import sliced
from flows.errors import ConfigError

MODULE = """
import math
from river import linear_model
from typing import Any

UNIT: float = 60.0
LIMITS = {"a": (0, UNIT)}

def clipped(value: Any) -> float:
    low, high = LIMITS["a"]
    return min(max(value, low), high)

def prepare(x: dict[str, Any]) -> dict[str, float]:
    return {name: clipped(math.sqrt(value)) for name, value in x.items()}

def model():
    return prepare | linear_model.LinearRegression()
"""


def run(source: str, name: str = "prepare") -> object:
    names: dict = {}
    exec(source, names)  # noqa: S102 (our own)
    return names[name]


def test_a_slice_runs_alone_and_has_only_what_the_function_uses() -> None:
    found = sliced(MODULE, "prepare")
    assert run(found)({"x": 4.0, "y": 10_000.0}) == {"x": 2.0, "y": 60.0}  # type: ignore[operator]
    assert "river" not in found
    assert "typing" not in found
    assert "def model" not in found


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import numpy as np\ndef prepare(x):\n    return np.log(x)", "an import of numpy"),
        ("from . import other\ndef prepare(x):\n    return other.f(x)", "a module of its package"),
        ("def prepare(x):\n    return nowhere(x)", "got 'nowhere', which none binds"),
        ("T = {}\nT['a'] = 1\ndef prepare(x):\n    return T", "got 'T', which several statements bind"),
        ("T = {}\nfor n in 'ab':\n    T[n] = 1\ndef prepare(x):\n    return T", "got 'T', which several"),
        ("T = []\nT.append(1)\ndef prepare(x):\n    return T", "got 'T', which several"),
        ("T = 1\nT = 2\ndef prepare(x):\n    return T", "got 'T', which several"),
        ("try:\n    T = 1\nexcept E:\n    T = 2\ndef prepare(x):\n    return T", "got 'T', which several"),
        ("import river\n@river.wrap\ndef prepare(x):\n    return x", "an import of river"),
    ],
)
def test_what_a_slice_would_change_or_lack_is_refused(source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sliced(source, "prepare")
