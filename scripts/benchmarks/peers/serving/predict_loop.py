"""A consumer loop that predicts: confluent-kafka and River, from one topic to another, without guarantees."""

import json
import os
from uuid import uuid4

from confluent_kafka import Consumer, Producer
from model import NAMES, trained_model

BROKER, EVENTS, ANSWERS = os.environ["BROKER"], os.environ["EVENTS"], os.environ["ANSWERS"]

model = trained_model()
producer = Producer({"bootstrap.servers": BROKER, "linger.ms": 0, "enable.idempotence": True})
consumer = Consumer({"bootstrap.servers": BROKER, "group.id": f"loop-{uuid4()}"})
consumer.subscribe([EVENTS], on_assign=lambda *_: print("reading", flush=True))  # noqa: T201
while True:
    message = consumer.poll(1.0)
    if message is not None and message.error() is None:
        event = json.loads(message.value())
        score = model.predict_proba_one({name: event[name] for name in NAMES}).get(True, 0.5)
        producer.produce(ANSWERS, json.dumps({"id": event["id"], "p": score}), event["id"])
        producer.poll(0)
