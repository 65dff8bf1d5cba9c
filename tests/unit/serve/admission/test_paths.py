"""Which route answers a path, and with which methods, in an application of a few routes."""

import pytest
from fastapi import FastAPI, Response
from in_process import asked

from flows.serve.admission.paths import Paths


@pytest.fixture
def app() -> FastAPI:
    """Return an application around which there is no guard."""
    app = FastAPI(redirect_slashes=False)

    @app.get("/things/{name:segment}")
    async def thing(name: str) -> str:
        return name

    @app.delete("/things/{name:segment}")
    async def delete(name: str) -> str:
        return name

    @app.post("/things/freeze")
    async def freeze() -> str:
        return "frozen"

    @app.get("/things/{name:segment}/why")
    async def why(name: str) -> Response:
        return Response(f"why {name}")

    app.add_middleware(Paths, routes=app.routes)
    return app


@pytest.mark.parametrize("name", ["a/b", "a b", "ü", "..", "%2F", "?", "a/why", "freeze/"])
def test_a_parameter_is_a_whole_segment_whatever_it_holds(app, name):
    encoded = "".join(f"%{byte:02X}" for byte in name.encode())
    assert asked(app, "GET", f"/things/{encoded}").json() == name
    assert asked(app, "GET", f"/things/{encoded}/why").text == f"why {name}"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/things/a", "DELETE, GET, HEAD"),
        ("/things/freeze", "POST"),
        ("/things/%66reeze", "POST"),
        ("/things/a/why", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
def test_another_method_is_answered_with_those_of_the_path(app, path, allowed):
    for method in ("PUT", "OPTIONS", "PATCH"):
        answer = asked(app, method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json() == {"error": f"the method must be one of {allowed}, got {method}"}


def test_a_path_with_fewer_parameters_is_meant_before_one_with_more(app):
    assert asked(app, "POST", "/things/freeze").json() == "frozen"
    assert asked(app, "GET", "/things/freeze").status_code == 405


@pytest.mark.parametrize("path", ["/things/", "/things", "/things/a/", "//things/a", "/things//why", "/x"])
def test_an_empty_segment_is_nothing_and_nobody_is_redirected(app, path):
    answer = asked(app, "GET", path)
    assert (answer.status_code, "location" in answer.headers) == (404, False)
    assert "there is nothing at" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/things/%zz", "/things/%", "/things/%FF"])
def test_a_path_that_is_no_percent_encoded_utf_8_is_refused(app, path):
    answer = asked(app, "GET", path)
    assert answer.status_code == 400
    assert "must be" in answer.json()["error"]


def test_head_is_get_without_the_body(app):
    got, head = asked(app, "GET", "/things/a"), asked(app, "HEAD", "/things/a")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == got.headers
