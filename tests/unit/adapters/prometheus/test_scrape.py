"""What is read from the metrics of a flow."""

from flows.adapters.prometheus.scrape import Scraped

TEXT = """\
# TYPE driftline_process_info gauge
driftline_process_info{flow="predict",pipeline="shop"} 1.0
# TYPE driftline_end_to_end_seconds histogram
driftline_end_to_end_seconds_bucket{le="0.1"} 3.0
driftline_end_to_end_seconds_bucket{le="+Inf"} 4.0
# TYPE driftline_events counter
driftline_events_total{stream="a"} 2.0
driftline_events_total{stream="b"} 5.0
"""


def test_a_process_runs_the_flow_that_its_labels_name():
    said = Scraped(TEXT, None)
    assert said.runs("shop", "predict")
    assert not said.runs("shop", "learn")
    assert not said.runs("other", "predict")


def test_values_are_summed_and_buckets_have_their_bounds():
    said = Scraped(TEXT, "models")
    assert said.waits_for == "models"
    assert said.total("driftline_events_total") == 7.0
    assert [each.labels["le"] for each in said.samples("driftline_end_to_end_seconds_bucket")] == [
        "0.1",
        "+Inf",
    ]
    assert said.samples("driftline_nothing") == []
