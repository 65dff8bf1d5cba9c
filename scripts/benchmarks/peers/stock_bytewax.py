"""Bytewax with its own Kafka connectors; run with `python -m bytewax.run stock_bytewax`."""

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from work import ANSWERS, BROKER, EVENTS, work

SETTINGS = {"linger.ms": "5", "queue.buffering.max.messages": "2000000"}

flow = Dataflow("stock")
events = op.input("in", flow, KafkaSource([BROKER], [EVENTS], tail=True, batch_size=1000))
answers = op.map("work", events, lambda m: KafkaSinkMessage(m.key, orjson.dumps(work(orjson.loads(m.value)))))
op.output("out", answers, KafkaSink([BROKER], ANSWERS, add_config=SETTINGS))
