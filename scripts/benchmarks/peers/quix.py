"""Quix Streams, as in its documentation: a dataframe on a topic of JSON."""

from quixstreams import Application
from work import ANSWERS, BROKER, EVENTS, PROGRESS_SECONDS, work

app = Application(
    broker_address=BROKER,
    consumer_group=f"quix-{ANSWERS}",
    auto_offset_reset="earliest",
    commit_interval=PROGRESS_SECONDS,
    producer_extra_config={"linger.ms": 5, "enable.idempotence": True},
    loglevel="WARNING",
)
events = app.topic(EVENTS, value_deserializer="json", key_deserializer="bytes")
answers = app.topic(ANSWERS, value_serializer="json", key_serializer="bytes")
app.dataframe(events).apply(work).to_topic(answers)
app.run()
