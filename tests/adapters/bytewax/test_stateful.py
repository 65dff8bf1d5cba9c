"""A state that is too large for the recovery store."""

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from bytewax.testing import TestingSink, TestingSource

from flows.adapters.bytewax import stateful as module
from flows.adapters.bytewax.stateful import stateful
from flows.errors import StateTooLarge


class Keeper:
    """Keeps all its input."""

    def __init__(self, state: bytes | None) -> None:
        self.kept = state or b""

    def take(self, values: list[bytes]) -> list[bytes]:
        self.kept += b"".join(values)
        return values

    def snapshot(self) -> bytes:
        return self.kept


def run(directory, values: list[bytes]) -> None:
    dataflow = Dataflow("flow")
    items = op.input("items", dataflow, TestingSource([("key", value) for value in values]))
    op.output("out", stateful("keep", items, Keeper), TestingSink([]))
    cli_main(dataflow, recovery_config=RecoveryConfig(directory))


def test_a_state_that_is_too_large_for_the_store_is_told_with_its_step_and_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 10)
    init_db_dir(tmp_path, 1)
    run(tmp_path, [b"12345", b"67890"])
    with pytest.raises(BytewaxRuntimeError) as caught:
        run(tmp_path, [b"12345", b"67890", b"!"])  # the source goes on behind the second
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, StateTooLarge):
        error = error.__cause__ or error.__context__
    assert "'keep' has 11 bytes under one key, and the recovery store takes 10" in str(error)
    assert "max_pending" in str(error)
