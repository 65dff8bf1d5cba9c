"""The histogram that observes many values at once, compared with the library's own."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from flows.adapters.prometheus.histogram import BulkHistogram

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
