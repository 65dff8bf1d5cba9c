"""Paths are split at their slashes before they are decoded, and each has one canonical form."""

import pytest

from flows.core.serving.access.paths import canonical, encoded_segment, segment
from flows.core.serving.access.requests import Needed, needed
from flows.errors import InvalidRequest

TEXTS = [
    "A-4711",
    "a/b",
    "a b",
    "Zürich",
    "😀",
    "..",
    ".",
    "%",
    "%2F",
    "a?b#c",
    "a+b",
    "~!$&'()*+,;=:@",
    "\0",
    "a\nb",
]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_a_segment_of_its_own(text):
    encoded = encoded_segment(text)
    assert "/" not in encoded
    assert segment(encoded) == text
    assert canonical(f"/v1/p/predictions/{encoded}") == f"/v1/p/predictions/{encoded}"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("/", "/"),
        ("", ""),
        ("/v1//x/", "/v1//x/"),
        ("/a%2fb", "/a%2Fb"),
        ("/%61%2d%7e", "/a-~"),
        ("/a%3ab", "/a:b"),
        ("/%2e%2e", "/.."),
        ("/..", "/.."),
        ("/%252F", "/%252F"),
        ("/<a|b>", "/%3Ca%7Cb%3E"),
        ("/Z%C3%BCrich", "/Z%C3%BCrich"),
    ],
)
def test_paths_that_mean_the_same_have_the_same_form(raw, expected):
    assert canonical(raw) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize("raw", ["/%", "/%2", "/%zz", "/a%2", "/%ff", "/%C3", "/%ED%A0%80"])
def test_a_path_that_is_not_percent_encoded_utf_8_is_refused(raw):
    with pytest.raises(InvalidRequest, match=r"must be"):
        canonical(raw)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/p/predictions/a%2Fb", Needed("read", "p")),
        ("GET", "/v1/p%2Fq/predictions/a", Needed("read", "p/q")),
        ("POST", "/v1/p/x%2Fevents", Needed("operate", "p")),
        ("POST", "/v1/p/models/v1%2Fevents", Needed("operate", "p")),
        ("GET", "/v2%2Fhealth/live", Needed("operate", "")),
        ("GET", "/assets/a%2F..%2Fb", None),
        ("GET", "/assets/a/b", Needed("operate", "")),
        ("HEAD", "/v1/p/models", Needed("read", "p")),
    ],
)
def test_an_encoded_slash_changes_no_permission(method, path, expected):
    assert needed(method, path) == expected
