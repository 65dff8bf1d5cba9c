"""The rules for declared values: what each accepts and refuses."""

from datetime import timedelta

import pytest

from flows.core import arguments
from flows.errors import ConfigError

RULES = {
    "name": (arguments.name, ["flights", "a.b_c-1"], ["", ".", "..", "a/b", "a" * 250, 1, None]),
    "name with room": (arguments.name_with_room(10), ["a" * 239], ["a" * 240]),
    "text": (arguments.text, ["a"], ["", 1, None]),
    "flag": (arguments.flag, [True, False], [0, 1, None, "true"]),
    "function": (arguments.function, [len, dict], [1, "len"]),
    "mapping": (arguments.mapping, [{}, {"a": 1}], [{1: "a"}, [], None]),
    "number": (arguments.number, [1, 1.5], [float("nan"), True, "1"]),
    "share": (arguments.share, [0.5], [0, 1, 1.5, float("nan"), "0.5"]),
    "whole": (arguments.whole(2), [2, 3], [1, 2.0, True, None]),
    "duration": (arguments.duration, [timedelta(0), timedelta(hours=1)], [timedelta(seconds=-1), 3600]),
    "one of": (arguments.one_of((1, "a")), [1, "a"], [True, 1.0, "b"]),
    "instance": (arguments.instance_of(int, str), [1, "a"], [1.5, None]),
    "optional": (arguments.optional(arguments.text), [None, "a"], [""]),
    "several": (arguments.several(arguments.text, "('a',)"), [(), ("a", "b")], ["ab", ("a", "a"), (1,), 1]),
}


@pytest.mark.parametrize(("rule", "accepted"), [(rule, v) for rule, good, _ in RULES.values() for v in good])
def test_a_rule_accepts(rule, accepted):
    assert rule(accepted) is None


@pytest.mark.parametrize(("rule", "refused"), [(rule, v) for rule, _, bad in RULES.values() for v in bad])
def test_a_rule_refuses_with_the_rest_of_a_sentence(rule, refused):
    assert rule(refused).startswith("must ")


def test_a_refusal_names_the_file_and_line_of_the_callers_declaration():
    assert str(arguments.refused("x: wrong")).startswith(f"{__file__}:")


def test_only_the_first_fault_is_raised():
    with pytest.raises(ConfigError, match=r"x: first$"):
        arguments.refuse_any("x", ["first", "second"])
