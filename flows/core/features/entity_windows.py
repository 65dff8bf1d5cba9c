"""The windows of one entity as a key of the dataflow: restored lazily, dropped when idle."""

from collections.abc import Callable

from flows.core.features import entity_state
from flows.core.features.batch import EntityKey
from flows.core.features.by_entity import EntityPart, EntitySteps, IdleCheck
from flows.core.features.entity import EntityFeatures
from flows.core.features.idle import IdleIndex
from flows.core.features.plan import FeaturePlan

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does

SeededState = Callable[[str], bytes | None]  # the stored state of an entity by its name, None if unknown


class EntityWindows:
    """The windows of all views of one entity.

    Of a stored state only the header is read on resume, so that `idle` knows the entity; the windows are
    decoded when the entity is touched. An entity without a stored state starts with that of the seed.
    """

    __slots__ = ("_expired", "_features", "_idle", "_name", "_plan", "_seeded", "_stored")

    def __init__(
        self, plan: FeaturePlan, idle: IdleIndex, seeded: SeededState | None, stored: bytes | None
    ) -> None:
        self._plan = plan
        self._idle = idle
        self._seeded = seeded
        self._stored = stored
        self._features: EntityFeatures | None = None
        self._name = ""
        self._expired = False
        if stored is not None:
            self._name, expires = entity_state.name_and_expiry(stored)
            idle.put(self._name, expires)

    def take(self, values: list[EntitySteps | IdleCheck]) -> list[EntityPart]:
        """Run the steps, and return a part for each batch that has some."""
        parts = []
        for value in values:
            if isinstance(value, EntitySteps):
                slot, number, key, steps = value
                features = self._features or self._started(key)
                parts.append(_tuple(EntityPart, (slot, number, features.run(steps))))
                self._expired = False
                if not self._name:
                    self._name = key.name
                    self._idle.put(self._name, features.expires)
            else:
                self._check_idle(value.time)
        return parts

    def expired(self) -> bool:
        """Return whether the entity is idle, so that its state can be dropped."""
        return self._expired

    def snapshot(self) -> bytes:
        """Return the state to store."""
        if self._features is None:
            return self._stored or b""
        return entity_state.pack(self._name, self._features.expires, self._features.snapshot())

    def _started(self, key: EntityKey) -> EntityFeatures:
        """Restore the entity's windows, or start with those of the seed or empty ones."""
        stored, self._stored = self._stored, None
        if stored is None and self._seeded:
            stored = self._seeded(key.name)
        windows = entity_state.windows(stored) if stored else None
        self._features = EntityFeatures(key, self._plan.views_of(key.entity), self._plan.lateness, windows)
        return self._features

    def _check_idle(self, now: int) -> None:
        """Expire, or schedule the next check."""
        expires = self._expires()
        self._expired = expires <= now
        if not self._expired:
            self._idle.put(self._name, expires)

    def _expires(self) -> int:
        if self._features is None:
            return entity_state.name_and_expiry(self._stored)[1] if self._stored else 0
        return self._features.expires
