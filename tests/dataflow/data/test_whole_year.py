"""The records of all flights of the year: 1.3 million, too many for the unit lane."""

from collections import Counter

from real_flights import scheduled

from flows.pipelines.flights_data import dataset

FLIGHTS = 336_776


def test_nothing_is_lost_or_told_twice_in_the_whole_year() -> None:
    flights = scheduled()
    everything = dataset(flights)
    counts: Counter[str] = Counter()
    latest = 0
    for record in everything:
        counts[record.topic] += 1
        assert record.timestamp >= latest
        latest = record.timestamp
    assert counts == {
        "flights": FLIGHTS,
        "departures": 328_521,
        "arrivals": 327_346,
        "flight_labels": FLIGHTS,
    }
    assert (everything.events, len(everything)) == (FLIGHTS, counts.total())
    assert flights["flight_id"].is_unique
