"""Driftline: a stream-first, real-time prediction engine on Bytewax, River and Feast.

A declaration needs only the names of this module:

>>> from flows import Flag, Number, Pipeline, Stream, Text, Time
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.core.evaluation.costs import Costs
    from flows.core.stream.broker import Outgoing
    from flows.core.stream.fields import Flag, Key, Number, Text, Time
    from flows.core.stream.times import iso
    from flows.pipeline import Pipeline, Stream
    from flows.policies import DriftPolicy, Floor, RetrainPolicy, Search

__all__ = [
    "Costs",
    "DriftPolicy",
    "Flag",
    "Floor",
    "Key",
    "Number",
    "Outgoing",
    "Pipeline",
    "RetrainPolicy",
    "Search",
    "Stream",
    "Text",
    "Time",
    "iso",
]

_HOMES = {
    "flows.core.evaluation.costs": ("Costs",),
    "flows.core.stream.broker": ("Outgoing",),
    "flows.core.stream.fields": ("Flag", "Key", "Number", "Text", "Time"),
    "flows.core.stream.times": ("iso",),
    "flows.pipeline": ("Pipeline", "Stream"),
    "flows.policies": ("DriftPolicy", "Floor", "RetrainPolicy", "Search"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: River takes 2 s to import, and most commands do not need it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'flows' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
