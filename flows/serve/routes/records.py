"""Events and labels through the log: published as by any producer, predicted and learned by the flows."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Query, Request, Response

from flows.core.stream.broker import Record
from flows.core.stream.decode import Decoded
from flows.errors import InvalidRecord, InvalidRequest
from flows.jobs.tail import readable
from flows.serve.answers import Answer
from flows.serve.input_topic import InputTopic, Published
from flows.serve.problems import Problem, error_response, json_response, retry_later
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines

SHORTEST_WAIT, LONGEST_WAIT = 0.1, 60.0  # seconds
MOST_LINES = 1000  # in one request
_MOST_ENDS = 4 * MOST_LINES  # of lines, with empty ones; each may have two characters
JSON, LINES = "application/json", "application/x-ndjson"

R = TypeVar("R")
Wait = Annotated[
    float,
    Query(
        ge=SHORTEST_WAIT,
        le=LONGEST_WAIT,
        description="Seconds to wait for the prediction. Default: do not wait.",
    ),
]


def record_routes(pipelines: ServedPipelines) -> APIRouter:
    """Return the routes that publish."""
    routes = APIRouter(prefix="/v1/{pipeline:segment}", tags=["Through the log"])

    @routes.post("/events", summary="Publish events, and wait for their predictions")
    async def events(request: Request, pipeline: str, wait: Wait | None = None) -> Response:
        return await publish_events(request, await pipelines.caught_up(pipeline), wait)

    @routes.post("/labels", summary="Publish labels, which the models learn")
    async def labels(request: Request, pipeline: str) -> Response:
        return await publish_labels(request, await pipelines.caught_up(pipeline))

    return routes


async def publish_events(request: Request, served: ServedPipeline, wait: float | None = None) -> Response:
    """Publish the events of a request; with `wait` (seconds), wait so long for their predictions."""
    body = await request.body()
    if _is_lines(request):
        outcomes = await _unless_gone(request, _publish_lines(served, body, wait))
        return _lines([_line(served, each) for each in outcomes])
    return await _unless_gone(request, _publish_event(served, body, wait))


async def publish_labels(request: Request, served: ServedPipeline) -> Response:
    """Publish the labels of a request."""
    body = await request.body()
    if _is_lines(request):
        outcomes = await _publish_all(served.labels, _split(body))
        return _lines([_line(served, each) for each in outcomes])
    (outcome,) = await served.labels.publish([body], [served.labels.decode(body)])
    return _single(outcome)


def prediction_body(served: ServedPipeline, record: Record) -> Any:
    """Return a prediction as on the topic, with the features by name."""
    return readable(record, served.names)["value"]


def _is_lines(request: Request) -> bool:
    """Return whether the body has a record on each line; raises `Problem` for another type than JSON.

    A page of another site may send some types without asking, but not these.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, LINES):
        raise Problem(415, f"Content-Type must be {JSON}, or {LINES} for several records, got {kind!r}")
    return kind == LINES


async def _unless_gone(request: Request, work: Coroutine[Any, Any, R]) -> R:
    """Return the result of `work`, which ends when the client is gone: then nobody waits for it any more."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Problem(408, "the client is gone")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _split(body: bytes) -> list[bytes]:
    ends = body.count(b"\n") + body.count(b"\r")
    lines = [line for line in body.splitlines() if line.strip()] if ends <= _MOST_ENDS else []
    if not 0 < len(lines) <= MOST_LINES:
        count = f"{len(lines):,}" if ends <= _MOST_ENDS else f"about {ends:,}"
        raise InvalidRequest(f"the body must have 1 to {MOST_LINES:,} lines, got {count}")
    return lines


# What became of a line: it is published, it was refused, or its prediction is there or will never be.
_Outcome = Published | Problem | Answer


async def _publish_event(served: ServedPipeline, body: bytes, wait: float | None) -> Response:
    decoded = served.events.decode(body)
    answer = None if wait is None else served.answers.expect(decoded.id)
    try:
        (outcome,) = await served.events.publish([body], [decoded])
        if answer is None or isinstance(outcome, Problem):
            return _single(outcome)
        (found,) = await _answers(served, [outcome], [answer], time.monotonic() + (wait or 0.0))
    finally:
        if answer is not None:
            answer.cancel()
    if isinstance(found, Record):
        return json_response(prediction_body(served, found))
    if isinstance(found, InvalidRecord):
        raise found
    raise retry_later(
        f"event {decoded.id!r} is published, and its prediction is not on the topic after {wait:g} s; send "
        "the event again to wait on, or get the prediction by the id"
    )


async def _publish_lines(served: ServedPipeline, body: bytes, wait: float | None) -> list[_Outcome]:
    lines = _split(body)
    if wait is None:
        return await _publish_all(served.events, lines)
    deadline = time.monotonic() + wait
    decoded = _decoded(served.events, lines)
    expected = [served.answers.expect(each.id) if isinstance(each, Decoded) else None for each in decoded]
    try:
        outcomes = await _publish_decoded(served.events, lines, decoded)
        return await _answers(served, outcomes, expected, deadline)
    finally:
        for future in expected:
            if future is not None:
                future.cancel()


async def _answers(
    served: ServedPipeline,
    outcomes: Sequence[_Outcome],
    expected: Sequence["asyncio.Future[Answer] | None"],
    deadline: float,
) -> list[_Outcome]:
    """Return the answer to each published event, where it comes before the deadline."""
    waited = [
        (outcome, future)
        for outcome, future in zip(outcomes, expected, strict=True)
        if future is not None and isinstance(outcome, Published)
    ]
    for outcome, future in waited:
        if outcome.status == "known":
            answer = await served.recent_answer(outcome.id)
            if answer is not None and not future.done():
                future.set_result(answer)
    if waited:
        futures = [future for _, future in waited]
        await asyncio.wait(futures, timeout=max(0.0, deadline - time.monotonic()))
    return [
        outcome if future is None or isinstance(outcome, Problem) or not future.done() else future.result()
        for outcome, future in zip(outcomes, expected, strict=True)
    ]


def _decoded(topic: InputTopic, lines: Sequence[bytes]) -> list[Decoded | InvalidRecord]:
    found: list[Decoded | InvalidRecord] = []
    for line in lines:
        try:
            found.append(topic.decode(line))
        except InvalidRecord as fault:
            found.append(fault)
    return found


async def _publish_all(topic: InputTopic, lines: Sequence[bytes]) -> list[_Outcome]:
    return await _publish_decoded(topic, lines, _decoded(topic, lines))


async def _publish_decoded(
    topic: InputTopic, lines: Sequence[bytes], decoded: Sequence[Decoded | InvalidRecord]
) -> list[_Outcome]:
    """Publish the valid lines; return what became of each line."""
    valid = [(line, each) for line, each in zip(lines, decoded, strict=True) if isinstance(each, Decoded)]
    published = iter(await topic.publish([line for line, _ in valid], [each for _, each in valid]))
    return [next(published) if isinstance(each, Decoded) else each for each in decoded]


def _single(outcome: Published | Problem) -> Response:
    if isinstance(outcome, Problem):
        return error_response(outcome.status, str(outcome), outcome.headers)
    return json_response(asdict(outcome), 202 if outcome.status == "published" else 200)


def _line(served: ServedPipeline, outcome: _Outcome) -> dict[str, Any]:
    if isinstance(outcome, Record):
        prediction = prediction_body(served, outcome)
        return {"id": prediction["id"], "status": "predicted", "prediction": prediction}
    if isinstance(outcome, Published):
        return asdict(outcome)
    if isinstance(outcome, InvalidRecord):
        return {"status": "refused", "reason": outcome.reason, "error": str(outcome)}
    return {"status": "refused", "reason": "conflict", "error": str(outcome)}


def _lines(rows: Sequence[dict[str, Any]]) -> Response:
    return Response(b"".join(orjson.dumps(row) + b"\n" for row in rows), media_type=LINES)
