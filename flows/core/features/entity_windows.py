"""The windows of one entity as a key of the dataflow: restored lazily, dropped when idle."""

from collections.abc import Callable

from flows.core.features import entity_state
from flows.core.features.batch import EntityKey, Part
from flows.core.features.by_entity import EntityPart, EntitySteps, IdleCheck
from flows.core.features.entity import EntityFeatures
from flows.core.features.idle import IdleIndex
from flows.core.features.plan import FeaturePlan

SeededState = Callable[[str], bytes | None]  # the stored state of an entity by its name, None if unknown


class EntityWindows:
    """The windows of all views of one entity.

    Of a stored state only the header is read on resume, so that `idle` knows the entity; the windows are
    decoded when the entity is touched. An entity without a stored state starts with that of the seed.
    """

    def __init__(
        self, plan: FeaturePlan, idle: IdleIndex, seeded: SeededState | None, stored: bytes | None
    ) -> None:
        self._plan = plan
        self._idle = idle
        self._seeded = seeded
        self._stored = stored
        self._features: EntityFeatures | None = None
        self._name = ""
        self._expires = 0
        self._expired = False
        if stored is not None:
            self._name, self._expires = entity_state.name_and_expiry(stored)
            idle.put(self._name, self._expires)

    def take(self, values: list[EntitySteps | IdleCheck]) -> list[EntityPart]:
        """Run the steps, and return a part for each batch that has some."""
        parts = []
        for value in values:
            if isinstance(value, EntitySteps):
                parts.append(EntityPart(value.slot, value.number, self._run(value)))
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
        return entity_state.pack(self._name, self._expires, self._features.snapshot())

    def _run(self, given: EntitySteps) -> Part:
        if self._features is None:
            self._features = self._restored(given.key)
        part = self._features.run(given.steps)
        self._expires, self._expired = self._features.expires, False
        if not self._name:
            self._name = given.key.name
            self._idle.put(self._name, self._expires)
        return part

    def _restored(self, key: EntityKey) -> EntityFeatures:
        stored, self._stored = self._stored, None
        if stored is None and self._seeded:
            stored = self._seeded(key.name)
        windows = entity_state.windows(stored) if stored else None
        return EntityFeatures(key, self._plan.views_of(key.entity), self._plan.lateness, windows)

    def _check_idle(self, now: int) -> None:
        """Expire, or schedule the next check."""
        self._expired = self._expires <= now
        if not self._expired:
            self._idle.put(self._name, self._expires)
