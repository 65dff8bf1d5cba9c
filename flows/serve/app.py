"""The application: the routes of all doors, and what applies to each request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from flows.serve.admission.paths import Paths
from flows.serve.openapi.document import document_of
from flows.serve.problems import add_handlers
from flows.serve.reproductions import Reproductions
from flows.serve.routes.comparisons import comparison_routes
from flows.serve.routes.dashboard import dashboard_routes
from flows.serve.routes.dead_letters import dead_letter_routes
from flows.serve.routes.inference import inference_routes
from flows.serve.routes.lifecycle import lifecycle_routes
from flows.serve.routes.predictions import prediction_routes
from flows.serve.routes.records import record_routes
from flows.serve.routes.streams import Streams
from flows.serve.served_pipeline import ServedPipelines


def application(pipelines: ServedPipelines, streams: Streams) -> FastAPI:
    """Return the application, which follows the topics of the pipelines while it runs."""
    reproductions = Reproductions()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pipelines.start()
        try:
            yield
        finally:
            reproductions.stop()
            pipelines.stop()

    doors = (
        inference_routes,
        record_routes,
        prediction_routes,
        dashboard_routes,
        dead_letter_routes,
        lifecycle_routes,
        streams.routes,
    )
    routes = [route for door in doors for route in door(pipelines).routes]
    app = FastAPI(
        title="Driftline",
        lifespan=lifespan,
        routes=[*routes, *comparison_routes(pipelines, reproductions).routes],
        redirect_slashes=False,  # the redirection would name the host that the request names
        docs_url=None,  # both pages load their scripts from another host
        redoc_url=None,
    )
    app.add_middleware(Paths, routes=app.routes)
    add_handlers(app)
    app.openapi = document_of(app, pipelines)  # type: ignore[method-assign]
    return app
