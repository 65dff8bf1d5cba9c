"""Generated functions in tracebacks."""

import traceback

import pytest

from flows.core.generated_code import compile_functions
from flows.core.user_code import place_of


def test_a_traceback_names_the_generated_source_and_quotes_the_line():
    half = compile_functions("def half(x):\n    return x / 0", "half of a view", {})["half"]
    with pytest.raises(ZeroDivisionError) as error:
        half(1)
    shown = "".join(traceback.format_exception(error.value))
    assert 'File "<generated half of a view>", line 2, in half' in shown
    assert "return x / 0" in shown


def test_a_generated_line_is_not_taken_for_user_code():
    half = compile_functions("def half(x):\n    return x / 0", "half of a view", {})["half"]
    with pytest.raises(ZeroDivisionError) as error:
        half(1)
    place = place_of(error.value)
    assert place is not None
    assert place.file == __file__
