"""The test event of `driftline webhooks test`."""

import orjson

from flows.core.drift.signal import source_of
from flows.core.stream.times import iso

TRIAL_ANNOTATIONS = {"summary": "driftline webhooks test", "description": "Nothing drifted: this is a test."}


def trial_labels(pipeline: str) -> dict[str, str]:
    """Return the Alertmanager labels of a test alert."""
    return {"alertname": "DriftlineTest", "pipeline": pipeline, "severity": "none"}


def trial(pipeline: str, identity: str, time: int) -> bytes:
    """Return a CloudEvent to test a webhook: an alert that is already resolved, at `time` (ms)."""
    event = {
        "specversion": "1.0",
        "id": identity,
        "source": source_of(pipeline),
        "type": "io.driftline.test",
        "time": iso(time),
        "datacontenttype": "application/json",
        "data": {
            "pipeline": pipeline,
            "status": "resolved",
            "labels": trial_labels(pipeline),
            "annotations": TRIAL_ANNOTATIONS,
        },
    }
    return orjson.dumps(event)
