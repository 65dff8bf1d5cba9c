"""Fields: the values that they accept, and the type of a key from its entity."""

import pytest

from flows.core.stream.fields import Flag, Key, Number, Text, Time, resolved

NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("s", 1_357_041_600),
        ("s", 1_357_041_600.0),
        ("ms", NOON),
        ("us", NOON * 1_000),
        ("ns", NOON * 1_000_000),
        ("s", "2013-01-01T13:00:00+01:00"),
    ],
)
def test_a_time_is_read_in_its_unit(unit, value):
    assert Time(unit=unit).read(value) == NOON


@pytest.mark.parametrize(("unit", "value", "other"), [("s", NOON, "ms"), ("ms", NOON // 1000, "s")])
def test_a_time_of_another_unit_is_refused_with_the_unit_to_declare(unit, value, other):
    with pytest.raises(ValueError, match=f"declare Time\\(unit='{other}'\\)"):
        Time(unit=unit).read(value)


@pytest.mark.parametrize(
    ("flag", "value", "truth"),
    [
        (Flag(), True, True),
        (Flag(), 1, None),
        (Flag(true=1, false=0), 1, True),
        (Flag(true=1, false=0), 0.0, False),
        (Flag(true=1, false=0), True, None),
        (Flag(true="yes", false="no"), "no", False),
        (Flag(true="yes", false="no"), "maybe", None),
    ],
)
def test_a_flag_is_read_by_its_declared_values(flag, value, truth):
    assert flag.read(value) is truth


def test_a_key_gets_the_kind_of_its_entity_unless_it_declares_one():
    fields = {"shop": Key(), "till": Key(kind="text"), "price": Number(), "town": Text()}
    found = resolved(fields, {"shop": "integer", "till": "integer"})
    assert found == {**fields, "shop": Key(kind="integer")}
