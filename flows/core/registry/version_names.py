"""How a user names a model version: `v3`, an alias such as `champion`, or a `models:/` URI."""

import re
from typing import NamedTuple

from flows.errors import ConfigError, UnknownVersion

ALIASES = ("champion", "challenger", "previous")
_SCHEME = "models:/"
_URI = re.compile(r"models:/(?P<pipeline>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))")


class VersionName(NamedTuple):
    """A version or an alias, and the pipeline that a URI names; "" without a URI."""

    name: str
    pipeline: str = ""


def parse_version_name(text: str) -> VersionName:
    """Return what `text` names: a version, an alias, or a URI as MLflow writes it.

    Raises `UnknownVersion` for another URI, and for an alias in a URI that does not exist.

    >>> parse_version_name("v3"), parse_version_name("models:/flight_delays@champion").name
    (VersionName(name='v3', pipeline=''), 'champion')
    """
    if not text.startswith(_SCHEME):
        return VersionName(text)
    match = _URI.fullmatch(text)
    if match is None:
        raise UnknownVersion(f"a model URI must be models:/NAME@ALIAS or models:/NAME/VERSION, got {text!r}")
    alias = match["alias"]
    if alias is not None and alias not in ALIASES:
        raise UnknownVersion(f"an alias must be one of {', '.join(ALIASES)}, got {alias!r} in {text!r}")
    return VersionName(alias or match["version"], match["pipeline"])


def chosen_pipeline(wanted: VersionName, option: str) -> str:
    """Return the pipeline that a URI or the option --pipeline names; raises `ConfigError` if they differ."""
    if wanted.pipeline and option and wanted.pipeline != option:
        raise ConfigError(
            f"--pipeline must be that of the model URI, {wanted.pipeline!r}, got {option!r}; omit it"
        )
    return wanted.pipeline or option
