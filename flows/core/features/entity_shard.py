"""The windows of the entities of one shard, which is a key of the dataflow."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import orjson

from flows.core.block_store import BlockStore
from flows.core.features import entity_state
from flows.core.features.batch import EntityKey
from flows.core.features.by_shard import ShardParts, ShardSteps
from flows.core.features.entity import EntityFeatures
from flows.core.features.idle import IdleIndex
from flows.core.features.plan import FeaturePlan

SeededState = Callable[[str], bytes | None]  # the stored state of an entity by its name, None if unknown


class Shards(NamedTuple):
    """The number of shards, and what opens the store of each by its number."""

    number: int
    open_store: Callable[[int], BlockStore]


def stored_shards(state: bytes) -> int:
    """Return the number of shards with which a shard's snapshot was stored."""
    return int(orjson.loads(state)["of"])


class EntityShard:
    """The windows of all views of each entity of a shard; an idle entity is dropped.

    At each snapshot the shard appends the states of the entities that changed to its store, and the snapshot
    says how far the store's files count. Of an entity's states, the last one counts. So the cost of a
    snapshot depends on what changed alone. The files may still have a dropped entity, which a restart drops
    again.

    An entity is decoded when it is touched. One without a stored state starts with that of the seed.
    """

    def __init__(
        self,
        plan: FeaturePlan,
        shards: Shards,
        seeded: SeededState | None,
        stored: bytes | None,
    ) -> None:
        self._plan = plan
        self._shards = shards
        self._seeded = seeded
        self._shard = -1
        self._now = 0  # the newest event time (ms)
        self._store: BlockStore
        self._features: dict[str, EntityFeatures] = {}
        self._stored: dict[str, bytes] = {}  # the states of entities not touched since the restart
        self._addresses: dict[str, int] = {}  # of the last stored states
        self._changed: dict[str, None] = {}  # in order, so that two runs store the same
        self._idle = IdleIndex(plan.lateness)
        if stored is not None:
            self._restore(stored)

    def __len__(self) -> int:
        """Return the number of entities in memory."""
        return len(self._features) + len(self._stored)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the entities in memory."""
        return chain(self._features, self._stored)

    def take(self, values: Iterable[ShardSteps]) -> list[ShardParts]:
        """Run the steps of each batch, and return the parts of its entities."""
        out = []
        for shard, slot, number, now, steps in values:
            if self._shard != shard:  # the first batch of a shard without a stored state
                self._open(shard)
            parts = [self._touched(key).run(of_entity) for key, of_entity in steps]
            self._now = max(self._now, now)
            self._drop_idle()
            out.append(ShardParts(slot, number, parts))
        return out

    def snapshot(self) -> bytes:
        """Store the entities that changed, and return where all are; raises `StateError`."""
        store, addresses = self._store, self._addresses
        changed = [*self._changed, *self._in_sparse_files()]
        store.release([addresses[name] for name in changed if name in addresses])
        addresses |= zip(changed, store.append([self._content(name) for name in changed]), strict=True)
        self._changed = {}
        store.delete_unused()
        files = {str(number): end for number, end in store.ends().items()}
        return orjson.dumps(
            {"shard": self._shard, "of": self._shards.number, "now": self._now, "files": files}
        )

    def _open(self, shard: int) -> None:
        self._shard, self._store = shard, self._shards.open_store(shard)

    def _restore(self, stored: bytes) -> None:
        state = orjson.loads(stored)
        self._open(state["shard"])
        self._now = state["now"]
        for number, end in state["files"].items():
            for address, content in self._store.blocks(int(number), end):
                name, _ = entity_state.name_and_expiry(content)
                if name in self._addresses:
                    self._store.release([self._addresses[name]])
                self._addresses[name], self._stored[name] = address, content
        for name in self._stored:
            self._idle.put(name, self._expires(name))
        self._drop_idle()

    def _touched(self, key: EntityKey) -> EntityFeatures:
        name = key.name
        self._changed[name] = None
        return self._features.get(name) or self._started(name, key)

    def _started(self, name: str, key: EntityKey) -> EntityFeatures:
        """Restore the entity's windows, or start with those of the seed or empty ones."""
        stored = self._stored.pop(name, None)
        if stored is None:
            self._idle.put(name, 0)
            stored = self._seeded(name) if self._seeded else None
        windows = entity_state.windows(stored) if stored else None
        features = EntityFeatures(key, self._plan.views_of(key.entity), self._plan.lateness, windows)
        self._features[name] = features
        return features

    def _drop_idle(self) -> None:
        for name in self._idle.due(self._now):
            expires = self._expires(name)
            if expires > self._now:
                self._idle.put(name, expires)
                continue
            for of_entity in (self._features, self._stored, self._changed):
                of_entity.pop(name, None)
            if address := self._addresses.pop(name, None):
                self._store.release([address])

    def _expires(self, name: str) -> int:
        features = self._features.get(name)
        return features.expires if features else entity_state.name_and_expiry(self._stored[name])[1]

    def _content(self, name: str) -> bytes:
        features = self._features.get(name)
        if features is None:
            return self._stored[name]
        return entity_state.pack(name, features.expires, features.snapshot())

    def _in_sparse_files(self) -> list[str]:
        """Return the unchanged entities whose state is in a file that is hardly used."""
        sparse, file_of = self._store.sparse(), self._store.file_of
        if not sparse:
            return []
        return [
            name
            for name, address in self._addresses.items()
            if file_of(address) in sparse and name not in self._changed
        ]
