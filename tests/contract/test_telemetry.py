"""The metrics and the health server, over real HTTP."""

import math
import os
import socket
import subprocess
import sys

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from river import metrics
from signals import CONCEPT_ALARM, changed

from flows.adapters.prometheus import metrics as telemetry
from flows.adapters.prometheus.health_server import health_server
from flows.core.evaluation.costs import Costs
from flows.core.evaluation.evaluation import Evaluation
from flows.core.evaluation.label_join import Joined, Label, Pending
from flows.core.models.model import Prediction
from flows.core.stream.broker import Record
from flows.core.stream.dead_letter import REASONS
from flows.errors import ConfigError
from flows.pipelines.flight_delays import pipeline as flight_delays


@pytest.fixture
def server():
    with health_server("127.0.0.1", 0, ready=lambda: None) as server:
        yield server


def get(server, path, **headers):
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", headers=headers)


def samples(server):
    families = text_string_to_metric_families(get(server, "/metrics").text)
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


METRICS = {
    "driftline_process_info",
    "driftline_stream_info",
    "driftline_events",
    "driftline_predictions",
    "driftline_dead_letters",
    "driftline_late_records",
    "driftline_lookups_null",
    "driftline_consumer_lag_records",
    "driftline_held_back_records",
    "driftline_end_to_end_seconds",
    "driftline_stage_seconds",
    "driftline_feature_freshness_seconds",
    "driftline_feature_rows_written",
    "driftline_predictions_of_other_plans",
    "driftline_entities",
    "driftline_pending_labels",
    "driftline_pending_evicted",
    "driftline_labels_joined",
    "driftline_metric",
    "driftline_recent_metric",
    "driftline_fading_loss",
    "driftline_skill",
    "driftline_calibration_error",
    "driftline_slice_rate",
    "driftline_fairness",
    "driftline_cost_per_label",
    "driftline_drift_signals",
    "driftline_drift_open",
    "driftline_retrainings",
    "driftline_retrain_triggers",
    "driftline_training_rows",
    "driftline_model_info",
    "driftline_model_labels",
    "driftline_outliers",
    "driftline_snapshot_age_seconds",
    "driftline_webhook_deliveries",
    "driftline_webhook_endpoint_disabled",
    "driftline_webhook_failed_attempts",
}


def test_every_metric_is_exposed_with_its_meaning(server):
    answer = get(server, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {f.name: f for f in text_string_to_metric_families(answer.text)}
    ours = {name.removesuffix("_total") for name in families if name.startswith("driftline_")}
    assert ours == METRICS
    assert all(family.documentation.endswith(".") for name, family in families.items() if "driftline" in name)


def test_prometheus_gets_openmetrics_when_it_asks_for_it(server):
    answer = get(server, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(answer.text)} >= METRICS


def test_what_is_counted_is_what_is_shown(server):
    before = samples(server)
    telemetry.EVENTS.labels("departures").inc(3)
    telemetry.DEAD_LETTERS.labels("schema").inc()
    telemetry.CONSUMER_LAG.labels("departures", 0).set(7)
    telemetry.END_TO_END.observe_all([0.0031])
    after = samples(server)

    def rise(*key):
        return after[key] - before.get(key, 0)

    assert rise("driftline_events_total", ("stream", "departures")) == 3
    assert rise("driftline_dead_letters_total", ("reason", "schema")) == 1
    lag = ("driftline_consumer_lag_records", ("partition", "0"), ("topic", "departures"))
    assert after[lag] == 7
    assert rise("driftline_end_to_end_seconds_bucket", ("le", "0.0025")) == 0
    assert rise("driftline_end_to_end_seconds_bucket", ("le", "0.005")) == 1
    assert not [name for name, *_ in after if name.endswith("_created")]


def test_counters_that_alerts_read_begin_at_zero(server):
    telemetry.endpoint_added("begins")
    shown = samples(server)
    reasons = {dict(labels)["reason"] for name, *labels in shown if name == "driftline_dead_letters_total"}
    assert reasons == set(REASONS)
    at_begins = ("endpoint", "begins")
    assert shown["driftline_webhook_deliveries_total", at_begins, ("outcome", "failed")] == 0
    assert shown["driftline_webhook_failed_attempts", at_begins] == 0
    assert shown["driftline_webhook_endpoint_disabled", at_begins] == 0


def test_a_process_shows_its_flow_and_what_its_streams_have(server):
    telemetry.process_started(flight_delays.name, "predict", flight_delays.stream_kinds)
    shown = samples(server)
    assert shown["driftline_process_info", ("flow", "predict"), ("pipeline", "flight_delays")] == 1
    streams = {tuple(dict(labels).values()) for name, *labels in shown if name == "driftline_stream_info"}
    assert streams == {
        ("events", "flights"),
        ("source", "departures"),
        ("source", "arrivals"),
        ("labels", "flight_labels"),
    }


def test_drift_is_open_from_its_signal_until_it_is_resolved(server):
    key = ("driftline_drift_open", ("kind", "concept"), ("severity", "critical"))
    count = "driftline_drift_signals_total", ("detector", "adwin"), *key[1:]
    before = samples(server).get(count, 0)
    telemetry.drift_changed(CONCEPT_ALARM)
    assert samples(server)[key] == 1
    telemetry.drift_changed(changed(CONCEPT_ALARM, status="resolved"))
    assert samples(server)[key] == 0
    assert samples(server)[count] == before + 1


def test_an_assessment_is_shown_with_each_of_its_figures(server):
    evaluation = Evaluation(metrics.Accuracy, slices={"country": 0}, costs=Costs(1, 4))
    for number in range(200):
        served = Prediction("a", 0, 0.8, "v1", {}, ["A" if number < 150 else "B"])
        label = Label("a", 0, number % 4 > 0, Record("labels", 0, 0, 0, None, None, ()))
        evaluation.update(Joined(Pending(served, 0.2, 0.0), label))
    telemetry.assessed(evaluation.assessment())
    shown = samples(server)
    assert shown["driftline_recent_metric", ("name", "Accuracy"), ("predictor", "no-change")] == 0.25
    assert shown["driftline_fading_loss", ("loss", "brier_score"), ("predictor", "model")] < 0.2
    skill = shown["driftline_skill", ("baseline", "majority"), ("loss", "error_rate")]
    assert skill == pytest.approx(1 - 0.25 / 0.75)
    assert shown["driftline_calibration_error",] == pytest.approx(0.05)
    by_country = [
        shown["driftline_slice_rate", ("column", "country"), ("rate", "error"), ("value", value)]
        for value in "AB"
    ]
    assert by_country == [pytest.approx(38 / 150), pytest.approx(math.nan, nan_ok=True)]
    assert math.isnan(shown["driftline_fairness", ("column", "country"), ("figure", "parity_ratio")])
    assert shown["driftline_cost_per_label", ("threshold", "half")] == 0.25
    assert shown["driftline_cost_per_label", ("threshold", "never")] == 3.0


def test_the_latency_buckets_run_from_50_microseconds_to_a_minute(server):
    edges = [
        dict(labels)["le"]
        for name, *labels in samples(server)
        if name == "driftline_end_to_end_seconds_bucket"
    ]
    assert (edges[0], edges[-2], edges[-1]) == ("5e-05", "60.0", "+Inf")


def test_a_model_that_left_service_is_no_longer_shown(server):
    telemetry.models_in_service({"v1": "champion", "v2": "challenger"})
    telemetry.models_in_service({"v2": "champion"})
    shown = [key for key in samples(server) if key[0] == "driftline_model_info"]
    assert shown == [("driftline_model_info", ("role", "champion"), ("version", "v2"))]


def test_the_age_of_the_snapshot_grows_until_the_next_one(server):
    now = [100.0]
    telemetry.snapshot_taken(clock=lambda: now[0])
    now[0] = 107.5
    assert samples(server)["driftline_snapshot_age_seconds",] == 7.5
    telemetry.snapshot_taken(clock=lambda: now[0])
    assert samples(server)["driftline_snapshot_age_seconds",] == 0


def test_a_living_process_is_healthy_also_while_it_is_not_ready():
    waits_for = ["the model"]
    with health_server("127.0.0.1", 0, ready=lambda: waits_for[0]) as server:
        assert (get(server, "/healthz").status_code, get(server, "/healthz").text) == (200, "ok\n")
        assert (get(server, "/readyz").status_code, get(server, "/readyz").text) == (503, "the model\n")
        waits_for[0] = None
        assert (get(server, "/readyz").status_code, get(server, "/readyz").text) == (200, "ok\n")


def test_other_paths_are_not_found(server):
    assert get(server, "/").status_code == 404
    assert get(server, "/metricsx").status_code == 404
    assert get(server, "/healthz?verbose=1").status_code == 200


def test_a_port_in_use_is_a_config_error_that_names_the_setting(server):
    with pytest.raises(ConfigError, match=f"127.0.0.1:{server.port}.*DRIFTLINE_HTTP_PORT"):
        health_server("127.0.0.1", server.port, ready=lambda: None)


def test_a_port_that_is_none_is_a_config_error():
    with pytest.raises(ConfigError, match="DRIFTLINE_HTTP_PORT"):
        health_server("127.0.0.1", 70_000, ready=lambda: None)


def test_requests_are_not_written_to_the_standard_streams(server, capfd):
    get(server, "/healthz")
    get(server, "/nothing")
    assert capfd.readouterr() == ("", "")


def test_a_client_that_sends_nothing_does_not_hold_up_the_others(server):
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/healthz").status_code == 200


def test_the_port_is_free_again_after_the_block():
    with health_server("127.0.0.1", 0, ready=lambda: None) as first:
        get(first, "/healthz")
    with health_server("127.0.0.1", first.port, ready=lambda: None) as second:
        assert get(second, "/healthz").status_code == 200


def test_metrics_stay_in_memory_when_feast_has_asked_for_files(tmp_path):
    program = (
        "from flows.adapters.prometheus import metrics as t; from prometheus_client import generate_latest;"
        "t.PENDING_LABELS.set(5); t.EVENTS.labels('x').inc(); t.models_in_service({'v': 'champion'});"
        "print(generate_latest(t.REGISTRY).decode())"
    )
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "driftline_pending_labels 5.0" in run.stdout
    assert list(tmp_path.iterdir()) == []
