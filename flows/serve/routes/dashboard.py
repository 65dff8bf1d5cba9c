"""The dashboard's page and files, and what its views show as JSON."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Path, Response

from flows.serve.dashboard.board import Board
from flows.serve.problems import Problem, json_response
from flows.serve.served_pipeline import ServedPipelines

# The page loads nothing from outside, and takes scripts and styles from files of this server only.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Plotly would add two style elements, which the policy refuses. It uses the element with the id of the first
# one, the link to style.css, to which it adds rules by a script. For the second one, that of its maps, it
# looks for an element with an id that differs by version, so the page has one.
_MAP_STYLE = re.compile(rb'document\.getElementById\("([0-9a-f]{64})"\)')
_PLACE = b"<!-- styles of the library -->"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_LIBRARY = "plotly.min.js"

Window = Annotated[int, Path(ge=0, description="The number of a window of the map.")]


class _File(NamedTuple):
    content: bytes
    type: str


def dashboard_routes(pipelines: ServedPipelines) -> APIRouter:
    """Return the routes of the dashboard."""
    routes = APIRouter(tags=["Dashboard"])
    boards = {name: Board(served.engine) for name, served in pipelines.by_name.items()}

    _add_files(routes)
    _add_views(routes, pipelines, boards)
    return routes


def _add_files(routes: APIRouter) -> None:
    @routes.get("/", summary="The dashboard", include_in_schema=False)
    async def page() -> Response:
        return _answer(_page())

    @routes.get("/assets/{name:segment}", summary="A file of the dashboard", include_in_schema=False)
    async def asset(name: str) -> Response:
        return _answer(_file(name))


def _add_views(routes: APIRouter, pipelines: ServedPipelines, boards: Mapping[str, Board]) -> None:
    @routes.get("/v1", summary="The names of the pipelines")
    async def names() -> Response:
        return json_response({"pipelines": list(boards)})

    @routes.get("/v1/{pipeline:segment}/overview", summary="The state of a pipeline and of its flows")
    async def overview(pipeline: str) -> Response:
        pipelines.known(pipeline)
        return json_response(await boards[pipeline].overview())

    @routes.get("/v1/{pipeline:segment}/metrics", summary="The metrics over time, with versions and drift")
    async def metrics(pipeline: str) -> Response:
        pipelines.known(pipeline)
        return json_response(await boards[pipeline].metrics())

    @routes.get("/v1/{pipeline:segment}/drift", summary="How far each feature moved in each window")
    async def drift(pipeline: str) -> Response:
        pipelines.known(pipeline)
        return json_response(await boards[pipeline].drift())

    @routes.get(
        "/v1/{pipeline:segment}/drift/{window:segment}/{feature:segment}",
        summary="The distributions of a feature in a window",
    )
    async def distribution(pipeline: str, window: Window, feature: str) -> Response:
        pipelines.known(pipeline)
        return json_response(await boards[pipeline].distribution(feature, window))

    @routes.get(
        "/v1/{pipeline:segment}/dead-letters", summary="The dead letters by reason, and the newest ones"
    )
    async def dead_letters(pipeline: str) -> Response:
        pipelines.known(pipeline)
        return json_response(await boards[pipeline].dead_letters())


def _answer(file: _File) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(file.content, 200, headers, file.type)


@cache
def _page() -> _File:
    """Return the page, with an element for each style that the library would add."""
    page, ids = _file("index.html"), sorted(set(_MAP_STYLE.findall(_file(_LIBRARY).content)))
    templates = b"".join(b'<template id="%s"></template>' % each for each in ids)
    return page._replace(content=page.content.replace(_PLACE, templates))


@cache
def _file(name: str) -> _File:
    """Return a file of the page; raises `Problem` if there is none."""
    home, folder = ("plotly", "package_data") if name == _LIBRARY else ("flows.serve.dashboard", "assets")
    kind = _TYPES.get(name.rpartition(".")[2])
    file = next((each for each in (files(home) / folder).iterdir() if each.name == name), None)
    if kind is None or file is None or not file.is_file():
        raise Problem(404, f"there is no file {name!r:.100}")
    return _File(file.read_bytes(), kind)
