"""Dead letters are sent again, as `driftline dead-letters replay` does."""

from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from flows.core.stream.broker import Broker
from flows.core.stream.dead_letter import REASONS, DeadLetter
from flows.errors import ConfigError
from flows.jobs.dead_letters import (
    LetterFilter,
    LetterOutcome,
    inputs_of,
    letter_at,
    letters,
    replay_and_wait,
)
from flows.serve.admission.audit import audited
from flows.serve.exclusive import Exclusive
from flows.serve.problems import Problem, json_response
from flows.serve.routes.lifecycle import Reason, Wait
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines

MOST_PLACES = 1000  # of one request

_Place = Annotated[str, Field(pattern=r"^[0-9]{1,6}/[0-9]{1,18}$")]


class ChosenLetters(BaseModel):
    """Which dead letters to send again: those that meet all conditions, of which one must be given."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})
    reason: str = Field("", pattern=f"^({'|'.join(REASONS)})$", description="Only letters of this reason.")
    topic: str = Field(
        "", min_length=1, max_length=249, description="Only records that came from this input topic."
    )
    places: list[_Place] = Field(
        [], min_length=1, max_length=MOST_PLACES, description="Letters by PARTITION/OFFSET."
    )


class ReplayRequest(Reason):
    """Why a person sends dead letters again, and which; the reason is in the audit log."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"reason": "the producer is mended", "letters": {"reason": "schema", "topic": "flights"}}
            ]
        },
    )
    letters: ChosenLetters


def dead_letter_routes(pipelines: ServedPipelines) -> APIRouter:
    """Return the route that sends dead letters again."""
    routes = APIRouter(prefix="/v1/{pipeline:segment}/dead-letters", tags=["Dashboard"])
    sending = Exclusive()  # so that no letter is sent twice by two people

    @routes.post("/replay", summary="Send dead letters again, and tell which fail again")
    async def replay(request: Request, pipeline: str, body: ReplayRequest, wait: Wait = 30.0) -> Response:
        served = pipelines[pipeline]
        audited(request.scope, body.reason)  # also if the log fails half-way
        outcome = await sending.run(_replayed, served, body.letters, wait)
        audited(request.scope, f"{body.reason}: {outcome.sent} sent again, {outcome.failed} failed again")
        return json_response(_answer(outcome), 200 if outcome.is_read else 202)

    return routes


def _replayed(served: ServedPipeline, asked: ChosenLetters, wait: float) -> LetterOutcome:
    wanted = LetterFilter(asked.reason, asked.topic, frozenset(asked.places))
    inputs = inputs_of(served.pipeline)
    if not any(wanted):
        raise Problem(400, "letters must have a reason, a topic or places, got none")
    if asked.topic not in ("", *inputs):
        raise Problem(404, f"letters.topic must be an input ({', '.join(inputs)}), got {asked.topic!r:.100}")
    with closing(served.engine.open_broker()) as broker:
        chosen = _chosen(served, broker, asked, wanted)
        return replay_and_wait(broker, served.pipeline, chosen, wait)


def _chosen(
    served: ServedPipeline, broker: Broker, asked: ChosenLetters, wanted: LetterFilter
) -> Iterator[DeadLetter]:
    """Return the letters that match; raises `Problem` if there is none at one of the places."""
    if not asked.places:
        return letters(served.pipeline, broker, wanted)
    try:
        found = [letter_at(served.pipeline, broker, place) for place in dict.fromkeys(asked.places)]
    except ConfigError as error:
        raise Problem(404, str(error)) from None
    return filter(wanted.matches, found)


def _answer(outcome: LetterOutcome) -> dict[str, Any]:
    return {
        "status": "done" if outcome.is_read else "sent",
        "sent": outcome.sent,
        "skipped": [
            {"topic": topic, "records": records, "why": f"{topic} is not an input of the pipeline"}
            for topic, records in outcome.skipped.items()
        ],
        "failed": outcome.failed,
        "failures": [
            {"place": each.place, "reason": each.reason, "topic": each.origin, "detail": each.detail}
            for each in outcome.failures
        ],
    }
