"""A trainer that ends before its order is ended like any other."""

from pathlib import Path

from harness import wait_until

from flows.core.learning.candidates.triggers import Trigger
from flows.runtime.training.messages import TrainerPlace, TrainingOrder
from flows.runtime.training.trainer_process import TrainerProcess
from flows.settings import load_settings

MORE_THAN_A_PIPE_HOLDS = frozenset(f"v{number}" for number in range(50_000))


def test_a_trainer_that_ends_before_it_has_read_its_order_has_an_exit_code(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text("raise SystemExit(9)")
    trigger = Trigger("alarm", "adwin", "v2", "drift", 0, 1, "v1")
    trainer = TrainerProcess(
        TrainingOrder(
            TrainerPlace(tmp_path, load_settings(tmp_path, {}), "flight_delays"),
            trigger,
            MORE_THAN_A_PIPE_HOLDS,
        )
    )

    def has_ended() -> bool:
        assert trainer.poll() == []
        return trainer.exit_code is not None

    wait_until(has_ended)
    assert trainer.exit_code == 9
