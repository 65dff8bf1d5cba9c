"""The dashboard's page and files, and what its views show as JSON."""

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, Response

from flows.serve.dashboard.board import Board
from flows.serve.problems import Problem, json_response
from flows.serve.served_pipeline import ServedPipelines

# The page loads nothing from outside, and takes scripts and styles from files of this server only. Plotly
# adds two style elements: an empty one, to which it adds rules by a script, and that of its maps.
_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
    "'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o='",
)
_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {' '.join(_STYLES)}; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_LIBRARY = "plotly.min.js"


class _File(NamedTuple):
    content: bytes
    type: str


def dashboard_routes(pipelines: ServedPipelines) -> APIRouter:
    """Return the routes of the dashboard."""
    routes = APIRouter(tags=["Dashboard"])
    boards = {name: Board(served.engine) for name, served in pipelines.by_name.items()}

    @routes.get("/", summary="The dashboard", include_in_schema=False)
    async def page() -> Response:
        return _answer(_file("index.html"))

    @routes.get("/assets/{name}", summary="A file of the dashboard", include_in_schema=False)
    async def asset(name: str) -> Response:
        return _answer(_file(name))

    @routes.get("/v1", summary="The names of the pipelines")
    async def names() -> Response:
        return json_response({"pipelines": list(boards)})

    @routes.get("/v1/{pipeline}/overview", summary="The state of a pipeline and of its flows")
    async def overview(pipeline: str) -> Response:
        pipelines.known(pipeline)
        return json_response(await boards[pipeline].overview())

    @routes.get("/v1/{pipeline}/metrics", summary="The metrics over time, with versions and drift")
    async def metrics(pipeline: str) -> Response:
        pipelines.known(pipeline)
        return json_response(await boards[pipeline].metrics())

    @routes.get("/v1/{pipeline}/dead-letters", summary="The dead letters by reason, and the newest ones")
    async def dead_letters(pipeline: str) -> Response:
        pipelines.known(pipeline)
        return json_response(await boards[pipeline].dead_letters())

    return routes


def _answer(file: _File) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(file.content, 200, headers, file.type)


@cache
def _file(name: str) -> _File:
    """Return a file of the page; raises `Problem` if there is none."""
    home, folder = ("plotly", "package_data") if name == _LIBRARY else ("flows.serve.dashboard", "assets")
    kind, file = _TYPES.get(name.rpartition(".")[2]), files(home) / folder / name.replace("/", "")
    if kind is None or not file.is_file():
        raise Problem(404, f"there is no file {name!r:.100}")
    return _File(file.read_bytes(), kind)
