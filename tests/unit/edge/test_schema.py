"""Events are checked against the features of the model."""

import pytest

from flows.edge.schema import Schema

SCHEMA = Schema(
    {
        "amount": {"kind": "number", "low": 0, "high": 10, "optional": False},
        "town": {"kind": "text", "low": 1, "high": 5, "optional": True},
        "count": {"kind": "whole", "low": 0, "high": 9, "optional": False},
        "new": {"kind": "flag", "optional": True},
    }
)


def event(**features: object) -> dict:
    return {"id": "E1", "features": {"amount": 1.5, "count": 2, **features}}


def test_the_features_are_in_the_order_of_the_model_and_a_missing_one_is_null() -> None:
    assert list(SCHEMA.checked(event(new=True)).items()) == [
        ("amount", 1.5),
        ("town", None),
        ("count", 2),
        ("new", True),
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "an event must be"),
        ({"features": {}}, "an event must be"),
        ({"id": True, "features": {}}, "an event must be"),
        ({"id": "E1"}, "'features' must be an object"),
        ({"id": "E1", "features": {"count": 2}}, "'amount' must not be missing or null"),
        (event(amount=None), "'amount' must not be missing or null"),
        (event(amount=True), "'amount' must be a number, got bool"),
        (event(amount=float("nan")), "'amount' must be finite"),
        (event(amount=11), "'amount' must be from 0 to 10, got 11"),
        (event(count=2.0), "'count' must be a whole, got float"),
        (event(town="Leipzig"), "'town' must have a length from 1 to 5, got 7"),
        (event(new=1), "'new' must be a flag, got int"),
        (event(age=1), "'age' is no feature of the model"),
    ],
)
def test_another_form_is_refused_with_its_reason(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SCHEMA.checked(given)
