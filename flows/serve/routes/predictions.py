"""Predictions on the topic, and their explanations, by the ids of their events."""

from contextlib import closing
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from flows.core.stream.broker import Record
from flows.errors import ConfigError
from flows.jobs.explanation import Explainer, summary
from flows.serve.exclusive import Exclusive
from flows.serve.problems import Problem, json_response
from flows.serve.routes.records import prediction_body
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines

Top = Annotated[int, Query(ge=1, le=1000, description="The number of alternatives in the answer.")]


def prediction_routes(pipelines: ServedPipelines) -> APIRouter:
    """Return the routes that read predictions."""
    routes = APIRouter(prefix="/v1/{pipeline:segment}/predictions", tags=["Predictions"])
    searching, explaining = Exclusive(), Exclusive()  # both read a topic

    @routes.get("/{event_id:segment}", summary="The prediction for an event")
    async def prediction(pipeline: str, event_id: str) -> Response:
        served = pipelines[pipeline]
        recent = await served.recent_prediction(event_id)
        if recent is not None:
            return json_response(prediction_body(served, recent))
        return json_response(prediction_body(served, await searching.run(_searched, served, event_id)))

    @routes.get("/{event_id:segment}/explanation", summary="The contribution of each feature to a prediction")
    async def explanation(pipeline: str, event_id: str, top: Top = 10) -> Response:
        served = pipelines[pipeline]
        return json_response(await explaining.run(_explained, served, event_id, top))

    return routes


def _searched(served: ServedPipeline, event_id: str) -> Record:
    with closing(served.engine.open_broker()) as broker:
        found = served.answers.find(broker, event_id)
    if found is None:
        raise Problem(404, f"there is no prediction for event {event_id!r}")
    return found


def _explained(served: ServedPipeline, event_id: str, top: int) -> dict[str, Any]:
    with closing(served.engine.open_broker()) as broker:
        explainer = Explainer(served.engine, broker)
        try:
            (found,) = explainer.find([event_id], lambda _: None)
        except ConfigError as error:
            raise Problem(404, str(error)) from None
        try:
            return summary(explainer.explain(found), top)
        except ConfigError as error:  # the model fails on a mix of served features
            raise Problem(409, str(error)) from None
