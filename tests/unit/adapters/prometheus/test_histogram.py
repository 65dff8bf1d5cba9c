"""The histograms of what happens in each batch, compared with the library's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from flows.adapters.prometheus.histogram import BulkHistogram, StopwatchHistogram

BOUNDS = (0.5, 1.0, 2.5)

disable_created_metrics()  # type: ignore[no-untyped-call]


@given(st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 0.75, 1.0, 2.0, 2.5, 3.0, 1e9]))))
def test_it_shows_what_the_librarys_histogram_shows(batches):
    own, library = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("seconds", "Seconds.", buckets=BOUNDS, registry=own)
    single = Histogram("seconds", "Seconds.", buckets=BOUNDS, registry=library)
    for batch in batches:
        bulk.observe_all(batch)
        for value in batch:
            single.observe(value)
    assert generate_latest(own) == generate_latest(library)


def test_a_stopwatch_shows_what_the_librarys_timer_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    own, library = CollectorRegistry(), CollectorRegistry()
    watched = StopwatchHistogram("seconds", "Seconds.", "stage", buckets=BOUNDS, registry=own)
    single = Histogram("seconds", "Seconds.", ["stage"], buckets=BOUNDS, registry=library)
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    for stage, seconds in (("intake", 0.5), ("predict", 2.0), ("intake", 4.0)):
        with watched.labels(stage).time():
            now += seconds
        single.labels(stage).observe(seconds)
    assert generate_latest(own) == generate_latest(library)


def test_a_block_that_fails_is_timed_too() -> None:
    registry = CollectorRegistry()
    watched = StopwatchHistogram("seconds", "Seconds.", "stage", buckets=BOUNDS, registry=registry)
    with pytest.raises(ValueError, match="failed"), watched.labels("intake").time():
        raise ValueError("failed")
    assert registry.get_sample_value("seconds_count", {"stage": "intake"}) == 1
