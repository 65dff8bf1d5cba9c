"""The predict flow with 12 windows on 2 entities, against a loop written by hand for this task alone.

The loop decodes, checks, computes the windows, scores with River and encodes the prediction and the rows of
the features topic.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from flows.core.stream.broker import Record
from scripts.benchmarks.harness import windows
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.site import BENCH
from scripts.benchmarks.parts.by_hand import ByHand
from scripts.benchmarks.parts.features import BATCH, transactions
from scripts.benchmarks.suites.in_turns import Work, in_turns

WARM = 0.5  # the share of the events that fills the windows


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figure of `runs` rounds over `events` transactions."""
    site = windows.site(BENCH / "windows")
    records = list(transactions(events))
    site.publish(windows.outgoing(records))
    pipeline = site.engine.pipeline
    names, estimator = pipeline.feature_names(site.engine.state.plan()), pipeline.new_model().estimator

    def flow() -> float:
        site.forget("predict")
        return site.predict_rate(events, warm=WARM).cpu

    work = Work(flow, lambda: _by_hand(records, names[1:], estimator))
    yield from in_turns({"12 windows on 2 entities, predict flow": work}, "loop by hand", runs)


def _by_hand(records: Sequence[Record], names: Sequence[str], estimator: Any) -> float:
    payloads = [orjson.loads(record.value or b"") for record in records]  # the loop has decoded them anyway
    loop, began = ByHand(), 0.0
    warm = int(WARM * len(records))
    for start in range(0, len(records), BATCH):
        if not began and start >= warm:
            began = time.process_time()
        vectors, rows = loop.take(records[start : start + BATCH])
        for event, vector in zip(payloads[start : start + BATCH], vectors, strict=True):
            x = {"amount": event["amount"], **dict(zip(names, vector, strict=True))}
            score = estimator.predict_proba_one(x).get(True, 0.5)
            orjson.dumps({"id": event["transaction_id"], "score": score, "features": vector})
        for row in rows:
            orjson.dumps(row)
    return (len(records) - warm) / (time.process_time() - began)
