"""The application: the routes of all doors, and what applies to each request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from flows.serve.inference import inference_routes
from flows.serve.problems import add_handlers
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines


def application(pipelines: ServedPipelines) -> FastAPI:
    """Return the application, which follows the topics of the pipelines while it runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pipelines.each(ServedPipeline.start)
        try:
            yield
        finally:
            pipelines.each(ServedPipeline.stop)

    app = FastAPI(
        title="Driftline",
        lifespan=lifespan,
        docs_url=None,  # both pages load their scripts from another host
        redoc_url=None,
    )
    add_handlers(app)
    app.include_router(inference_routes(pipelines))
    return app
