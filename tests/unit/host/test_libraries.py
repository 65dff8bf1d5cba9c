"""The versions of the libraries of a model."""

import platform

import numpy
import river

from flows.host.libraries import library_versions


def test_the_versions_are_those_that_run() -> None:
    found = library_versions()
    assert list(found) == ["driftline", "river", "numpy", "python"]
    assert (found["river"], found["numpy"]) == (river.__version__, numpy.__version__)
    assert found["python"] == platform.python_version()
