"""Alerts in the format of Alertmanager's webhook (version 4), for receivers made for Alertmanager.

The same HTTP message is also a CloudEvent in binary mode: its headers carry the attributes.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import orjson

from flows.core.drift.signal import DriftSignal, Status
from flows.core.stream.times import iso

CONTENT_TYPE = "application/json"

_NO_END = "0001-01-01T00:00:00Z"  # Alertmanager's value for an alert that has not ended


def body(signal: DriftSignal) -> bytes:
    """Return the webhook body with one alert for this signal.

    A resolved signal has the fingerprint of the one that fired.
    """
    return group(signal.status, signal.labels, signal.annotations, signal.since, signal.time)


def group(
    status: Status, labels: Mapping[str, str], annotations: Mapping[str, str], since: int, time: int
) -> bytes:
    """Return a webhook body with one alert, started at `since` and, if resolved, ended at `time` (ms)."""
    fingerprint = sha256(orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    alert: dict[str, Any] = {
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "startsAt": iso(since),
        "endsAt": iso(time) if status == "resolved" else _NO_END,
        "generatorURL": "",
        "fingerprint": fingerprint,
    }
    return orjson.dumps(
        {
            "version": "4",
            "groupKey": fingerprint,
            "truncatedAlerts": 0,
            "status": status,
            "receiver": "driftline",
            "groupLabels": labels,
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "alerts": [alert],
        }
    )


def headers(signal: DriftSignal) -> dict[str, str]:
    """Return the CloudEvent's attributes as HTTP headers, by the HTTP binding's binary mode."""
    return {
        "ce-specversion": "1.0",
        "ce-id": signal.id,
        "ce-source": signal.source,
        "ce-type": signal.type,
        "ce-subject": quote(signal.model_version),
        "ce-time": iso(signal.time),
    }
