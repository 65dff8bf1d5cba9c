"""The steps of a slot run on the worker that reads it, for as many workers as the keys are made for."""

import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.testing import cluster_main

from flows.adapters.bytewax.routing import WORKERS, slot_key, slot_of
from flows.adapters.bytewax.stateful import stateful

SLOTS = 8
Places = dict[str, set[int]]


class Once(StatefulSourcePartition[str, None]):
    def __init__(self, slot: str, places: Places) -> None:
        self._left = [slot]
        self._places = places

    def next_batch(self) -> Iterable[str]:
        if not self._left:
            raise StopIteration
        self._places[self._left[0]].add(threading.get_ident())
        return [self._left.pop()]

    def snapshot(self) -> None:
        return None


class Slots(FixedPartitionedSource[str, None]):
    def __init__(self, places: Places) -> None:
        self._places = places

    def list_parts(self) -> list[str]:
        return [str(slot) for slot in range(SLOTS)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Once:
        return Once(for_part, self._places)


class Written(StatefulSinkPartition[str, None]):
    def __init__(self, slot: str, places: Places) -> None:
        self._slot = slot
        self._places = places

    def write_batch(self, values: list[str]) -> None:
        assert values == [self._slot]
        self._places[self._slot].add(threading.get_ident())

    def snapshot(self) -> None:
        return None


class Sink(FixedPartitionedSink[str, None]):
    def __init__(self, places: Places) -> None:
        self._places = places

    def list_parts(self) -> list[str]:
        return [str(slot) for slot in range(SLOTS)]

    def part_fn(self, item_key: str) -> int:
        return slot_of(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Written:
        return Written(for_part, self._places)


class Noted:
    """A step that notes where it takes the slots."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def take(self, values: list[Any]) -> Iterable[Any]:
        for slot in values:
            self._places[slot].add(threading.get_ident())
        return values

    def snapshot(self) -> bytes:
        return b""


@pytest.mark.parametrize("workers", [1, 2, 3, 5, WORKERS])
def test_source_step_and_sink_of_a_slot_share_a_worker_and_the_workers_share_the_slots(workers: int) -> None:
    places: Places = defaultdict(set)
    flow = Dataflow("routing")
    slots = op.map("key", op.input("slots", flow, Slots(places)), lambda slot: (slot_key(slot), slot))
    op.output("out", stateful("step", slots, lambda _: Noted(places)), Sink(places))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    assert all(len(found) == 1 for found in places.values()), places
    used = [found.pop() for found in places.values()]
    assert len(set(used)) == workers
    assert max(map(used.count, used)) == -(-SLOTS // workers)


def test_each_key_has_the_hash_that_its_slot_needs() -> None:
    """Python's hash without a seed is SipHash-1-3, as Rust's, which adds a byte to a text."""
    count = f"print([hash(key.encode() + b'\\xff') % 2**64 % 840 for key in {[*map(slot_key, SLOT_NAMES)]}])"
    said = subprocess.run(
        [sys.executable, "-c", count], env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == str([*range(32)])


def test_a_slot_beyond_the_known_keys_keeps_its_name() -> None:
    assert slot_key("32") == "32"


@pytest.mark.parametrize("slot", ["0", "7", "31", "32", "100"])
def test_a_key_leads_back_to_its_slot(slot: str) -> None:
    assert slot_of(slot_key(slot)) == slot_of(slot) == int(slot)


SLOT_NAMES = [str(slot) for slot in range(32)]
