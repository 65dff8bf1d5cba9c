"""Bytewax with its own Kafka connectors and its recovery; run with `python -m bytewax.run stock_bytewax`."""

import os
from pathlib import Path

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import init_db_dir
from work import ANSWERS, BROKER, EVENTS, work

SETTINGS = {"linger.ms": "5", "queue.buffering.max.messages": "2000000"}
RECOVERY = Path(os.environ["BYTEWAX_RECOVERY_DIRECTORY"])

RECOVERY.mkdir(parents=True)
init_db_dir(RECOVERY, 1)

flow = Dataflow("stock")
events = op.input("in", flow, KafkaSource([BROKER], [EVENTS], tail=True, batch_size=1000))
answers = op.map("work", events, lambda m: KafkaSinkMessage(m.key, orjson.dumps(work(orjson.loads(m.value)))))
op.output("out", answers, KafkaSink([BROKER], ANSWERS, add_config=SETTINGS))
