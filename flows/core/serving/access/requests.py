"""What a request needs: a scope on a pipeline, by its method and its path."""

from typing import NamedTuple

from flows.core.serving.access.paths import segment
from flows.core.serving.access.tokens import Scope

_PUBLISHING = ("events", "labels")


class Needed(NamedTuple):
    """The scope that a request needs, and the pipeline; without a scope any token will do."""

    scope: Scope | None
    pipeline: str


def needed(method: str, path: str) -> Needed | None:
    """Return what a request to a percent-encoded path needs; None if it needs no token.

    A path that is not known needs the most, so that a new route is closed until it is named here.

    >>> needed("GET", "/v2/health/live")
    >>> needed("GET", "/"), needed("GET", "/assets/page.js"), needed("POST", "/")
    (None, None, Needed(scope='operate', pipeline=''))
    >>> needed("POST", "/v2/models/flights/infer")
    Needed(scope='score', pipeline='flights')
    >>> needed("POST", "/v1/flights/labels").scope, needed("GET", "/v1/flights/models").scope
    ('publish', 'read')
    >>> needed("POST", "/v1/flights/models/v2/promote").scope, needed("GET", "/openapi.json")
    ('operate', Needed(scope=None, pipeline=''))
    """
    parts = [*map(segment, path.strip("/").split("/"))]
    if parts[:2] == ["v2", "health"]:
        return None
    if method in ("GET", "HEAD") and (path == "/" or (parts[0] == "assets" and len(parts) == 2)):
        return None  # the dashboard's files, which tell nothing of the pipelines
    if path in ("/v1", "/v2", "/openapi.json"):
        return Needed(None, "")
    if parts[:2] == ["v2", "models"] and len(parts) > 2:
        return Needed("score", parts[2])
    pipeline = parts[1] if parts[0] == "v1" and len(parts) > 1 else ""
    if method == "POST" and len(parts) == 3 and parts[2] in _PUBLISHING:
        return Needed("publish", pipeline)
    if method in ("GET", "HEAD") and pipeline:
        return Needed("read", pipeline)
    return Needed("operate", pipeline)
