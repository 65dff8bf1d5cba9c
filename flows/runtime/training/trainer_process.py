"""Starts a trainer and polls it; the retrain flow never waits for one."""

import subprocess
import sys
from contextlib import suppress
from multiprocessing import Pipe

from flows.runtime.training.messages import TrainerMessage, TrainingOrder


class TrainerProcess:
    """A trainer of candidates, which ends when this object is deleted.

    It is a new interpreter: this process has threads, which a fork would not copy.
    """

    def __init__(self, order: TrainingOrder) -> None:
        trainers_input, self._input = Pipe(duplex=False)
        self._output, trainers_output = Pipe(duplex=False)
        with trainers_input, trainers_output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.runtime.training.trainer"],
                stdin=trainers_input.fileno(),
                stdout=trainers_output.fileno(),
                cwd=order.place.project,
                process_group=0,  # Ctrl-C is for the flow, which then ends the trainer
            )
        with suppress(BrokenPipeError):  # it ended already, which `poll` tells
            self._input.send(order)
        self.pid = self._process.pid
        self.exit_code: int | None = None  # after all messages were polled

    def poll(self) -> list[TrainerMessage]:
        """Return the messages that have come; sets `exit_code` after the last one."""
        messages: list[TrainerMessage] = []
        try:
            while self._output.poll(0):
                messages.append(self._output.recv())
        except (EOFError, OSError):  # an OSError if it was killed while it sent a message
            self.exit_code = self._process.wait()
            self._close()
        return messages

    def kill(self) -> None:
        """End the trainer and its job now."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._input.close()
        self._output.close()
