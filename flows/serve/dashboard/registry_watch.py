"""The registry of a pipeline for views that ask for it every few seconds."""

from flows.core.registry.registry import Registry
from flows.core.stream.broker import Broker
from flows.jobs.models.commands import read_registry
from flows.runtime.engine import Engine


class RegistryWatch:
    """Verifies and folds the registry again only if its topic has changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._bounds: object = None
        self._registry = Registry()

    def read(self, broker: Broker) -> Registry:
        """Return the registry as it is in the log."""
        bounds = broker.offsets(self._engine.pipeline.topic("registry"))
        if bounds != self._bounds:
            self._registry, _ = read_registry(self._engine, broker)
            self._bounds = bounds
        return self._registry
