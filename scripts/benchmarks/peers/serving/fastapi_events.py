"""FastAPI as a door to Kafka: an event is produced, and answered by the program's own consumer loop.

With ANSWERS, the loop reads predictions that another program (predict_loop.py) writes to that topic.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, Producer
from fastapi import FastAPI
from model import NAMES, trained_model
from pydantic import BaseModel
from serving.row import Row

BROKER, EVENTS, ANSWERS = os.environ["BROKER"], os.environ["EVENTS"], os.environ.get("ANSWERS")

producer = Producer({"bootstrap.servers": BROKER, "linger.ms": 0, "enable.idempotence": True})
model = trained_model()
waiting: dict[str, asyncio.Future[float]] = {}


class Event(Row):
    """An event with ten numbers."""

    id: str
    ts: int
    user: str


class Prediction(BaseModel):
    """The answer to an event."""

    id: str
    p: float


def read(loop: asyncio.AbstractEventLoop, started: asyncio.Event) -> None:
    """Answer those who wait, for as long as the program runs."""
    consumer = Consumer({"bootstrap.servers": BROKER, "group.id": f"door-{uuid4()}"})
    consumer.subscribe([ANSWERS or EVENTS], on_assign=lambda *_: loop.call_soon_threadsafe(started.set))
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            event = json.loads(message.value())
            score = event["p"] if ANSWERS else scored(event)
            loop.call_soon_threadsafe(answer, event["id"], score)


def scored(event: dict[str, Any]) -> float:
    """Return the score of an event."""
    score: float = model.predict_proba_one({name: event[name] for name in NAMES}).get(True, 0.5)
    return score


def answer(name: str, score: float) -> None:
    """Answer the request that waits for this event."""
    future = waiting.pop(name, None)
    if future is not None and not future.done():
        future.set_result(score)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Start to read before the first request is answered."""
    started = asyncio.Event()
    Thread(target=read, args=(asyncio.get_running_loop(), started), daemon=True).start()
    await started.wait()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/events")
async def publish(event: Event) -> Prediction:
    """Produce an event, and wait for its prediction."""
    waiting[event.id] = found = asyncio.get_running_loop().create_future()
    producer.produce(EVENTS, event.model_dump_json(), event.id)
    producer.poll(0)
    return Prediction(id=event.id, p=await asyncio.wait_for(found, 10))
