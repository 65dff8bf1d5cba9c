"""How a user names a version."""

import pytest

from flows.core.registry.version_names import VersionName, chosen_pipeline, parse_version_name
from flows.errors import ConfigError, UnknownVersion


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("v3", VersionName("v3")),
        ("champion", VersionName("champion")),
        ("models:/flight_delays@challenger", VersionName("challenger", "flight_delays")),
        ("models:/flight_delays@previous", VersionName("previous", "flight_delays")),
        ("models:/flight_delays/v3", VersionName("v3", "flight_delays")),
    ],
)
def test_a_version_an_alias_and_a_uri_are_names(text: str, wanted: VersionName) -> None:
    assert parse_version_name(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["models:/", "models:/a", "models:/a@", "models:/a/", "models:/@champion", "models:/a/v1@champion"],
)
def test_another_uri_is_refused(text: str) -> None:
    with pytest.raises(
        UnknownVersion, match="must be models:/NAME@ALIAS or models:/NAME/VERSION, got 'models:/"
    ):
        parse_version_name(text)


def test_an_alias_in_a_uri_must_exist() -> None:
    with pytest.raises(UnknownVersion, match="one of champion, challenger, previous, got 'best'"):
        parse_version_name("models:/flight_delays@best")


def test_the_uri_and_the_option_choose_the_pipeline_unless_they_differ() -> None:
    assert chosen_pipeline(VersionName("v1"), "") == ""
    assert chosen_pipeline(VersionName("v1"), "a") == "a"
    assert chosen_pipeline(VersionName("v1", "a"), "") == "a"
    assert chosen_pipeline(VersionName("v1", "a"), "a") == "a"
    with pytest.raises(ConfigError, match="must be that of the model URI, 'a', got 'b'"):
        chosen_pipeline(VersionName("v1", "a"), "b")
