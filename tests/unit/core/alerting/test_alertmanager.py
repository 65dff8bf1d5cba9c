"""Alerts in the format of Alertmanager's webhooks."""

from dataclasses import replace

import orjson
from signals import signal

from flows.core.alerting import alertmanager
from flows.core.stream.times import iso

FIRING = signal(1)
RESOLVED = replace(FIRING, status="resolved", time=FIRING.time + 60_000, model_version="v2")

# every field of webhook version 4, as Alertmanager's documentation lists them
PAYLOAD = {
    "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
    "commonAnnotations", "externalURL", "alerts",
}  # fmt: skip
ALERT = {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}


def test_the_body_has_every_field_of_alertmanagers_webhook():
    body = orjson.loads(alertmanager.body(FIRING))
    assert body.keys() == PAYLOAD
    assert body["version"] == "4"
    (alert,) = body["alerts"]
    assert alert.keys() == ALERT
    assert (body["commonLabels"], body["commonAnnotations"]) == (alert["labels"], alert["annotations"])


def test_an_alert_tells_what_when_and_how_bad():
    (alert,) = orjson.loads(alertmanager.body(FIRING))["alerts"]
    assert alert["labels"] == {
        "alertname": "DriftlineDrift",
        "pipeline": "flight_delays",
        "kind": "concept",
        "detector": "adwin",
        "severity": "critical",
    }
    assert alert["annotations"]["summary"] == "flight_delays: concept drift is firing (critical)"
    assert "0.1 become 0.3" in alert["annotations"]["description"]
    assert alert["startsAt"] == iso(FIRING.since)
    assert alert["endsAt"].startswith("0001-")  # not ended


def test_the_end_of_an_alert_has_the_fingerprint_of_its_beginning():
    firing, resolved = (orjson.loads(alertmanager.body(each)) for each in (FIRING, RESOLVED))
    assert (firing["status"], resolved["status"]) == ("firing", "resolved")
    assert resolved["alerts"][0]["endsAt"] == iso(RESOLVED.time)
    assert resolved["alerts"][0]["fingerprint"] == firing["alerts"][0]["fingerprint"]
    assert resolved["groupKey"] == firing["groupKey"]


def test_alerts_of_other_labels_have_other_fingerprints():
    others = [replace(FIRING, pipeline="other"), replace(FIRING, severity="warning")]
    prints = {orjson.loads(alertmanager.body(each))["alerts"][0]["fingerprint"] for each in [FIRING, *others]}
    assert len(prints) == 3


def test_with_its_headers_it_is_the_same_cloudevent_in_binary_mode():
    event = orjson.loads(FIRING.to_json())
    headers = alertmanager.headers(FIRING)
    attributes = ("specversion", "id", "source", "type", "subject", "time")
    assert headers == {f"ce-{name}": event[name] for name in attributes}
    assert all(
        value.isascii() for value in alertmanager.headers(replace(FIRING, model_version="\u00fc")).values()
    )
