"""What the other flights of the same airport, carrier, route and aircraft did in the last hours.

Feast keeps these declarations; Driftline compiles the aggregations and runs them on the streams.
"""

from datetime import timedelta

from feast import Entity, FeatureService, Field, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.types import Float64, Int64, String
from streams import stream

WINDOWS = {"1h": timedelta(hours=1), "3h": timedelta(hours=3), "24h": timedelta(hours=24)}

origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
route = Entity(
    name="route", join_keys=["route"], value_type=ValueType.STRING, description="Airports, as in JFK-LAX"
)
aircraft = Entity(name="aircraft", join_keys=["tail_number"], value_type=ValueType.STRING)


def delays(entity: Entity, topic: str, time: str) -> StreamFeatureView:
    """The number of the entity's flights in each window, and their mean and longest delay (minutes)."""
    name = f"{entity.name}_{topic}"
    fields = (
        "flight_id string, origin string, carrier string, route string, tail_number string, "
        f"{time} timestamp, delay double"
    )
    schema = [Field(name=entity.join_key, dtype=String)]
    aggregations = []
    for label, window in WINDOWS.items():
        schema += [
            Field(name=f"count_{label}", dtype=Int64),
            Field(name=f"mean_delay_{label}", dtype=Float64),
            Field(name=f"max_delay_{label}", dtype=Float64),
        ]
        aggregations += [
            Aggregation(name=f"count_{label}", function="count", column="delay", time_window=window),
            Aggregation(name=f"mean_delay_{label}", function="mean", column="delay", time_window=window),
            Aggregation(name=f"max_delay_{label}", function="max", column="delay", time_window=window),
        ]
    return StreamFeatureView(
        name=name,
        entities=[entity],
        source=stream(name, topic, time, fields),
        timestamp_field=time,
        schema=schema,
        aggregations=aggregations,
        ttl=max(WINDOWS.values()),  # an older row says nothing about any window
        tags={"driftline.exclude_own": "true"},  # a flight never feeds its own features
    )


origin_departures = delays(origin, "departures", "departed_at")
origin_arrivals = delays(origin, "arrivals", "arrived_at")
carrier_departures = delays(carrier, "departures", "departed_at")
carrier_arrivals = delays(carrier, "arrivals", "arrived_at")
route_departures = delays(route, "departures", "departed_at")
route_arrivals = delays(route, "arrivals", "arrived_at")
aircraft_departures = delays(aircraft, "departures", "departed_at")
aircraft_arrivals = delays(aircraft, "arrivals", "arrived_at")

flight_delays = FeatureService(
    name="flight_delays",
    features=[
        origin_departures,
        origin_arrivals,
        carrier_departures,
        carrier_arrivals,
        route_departures,
        route_arrivals,
        aircraft_departures,
        aircraft_arrivals,
    ],
)
