"""Starts `driftline serve` and the servers that it is compared with, each on a free port."""

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import orjson
import psutil

from flows.core.stream.broker import TopicSpec
from scripts.benchmarks.harness import ten_numbers
from scripts.benchmarks.harness.closed_loop import post
from scripts.benchmarks.harness.processes import cpu_seconds, running, wait_for
from scripts.benchmarks.harness.site import COMMAND, Site
from scripts.benchmarks.peers import model
from scripts.benchmarks.peers.environments import FASTAPI, HERE, MLSERVER
from scripts.faults.servers import free_port

_PIPELINE = "ten_numbers"
_TRAINED_ON = 1_000  # events

Event = Mapping[str, Any]


class Server(NamedTuple):
    """A running server; `request` asks about an event, and `score` reads the answer."""

    programs: Sequence[psutil.Popen]
    port: int
    request: Callable[[Event], bytes]
    score: Callable[[Any], float]

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that all its processes have used."""
        return sum(map(cpu_seconds, self.programs))


class Servers:
    """Starts servers for the life of `stack`; their files are in `folder`, and `address` is that of Kafka."""

    def __init__(self, stack: ExitStack, site: Site, folder: Path, address: str) -> None:
        self._stack = stack
        self._site = site
        self._folder = folder
        self._address = address

    def inferring(self) -> Server:
        """Start `driftline serve`, to be asked for scores of rows."""
        program, port = self._serve()
        path = f"/v2/models/{_PIPELINE}/infer"
        return Server([program], port, lambda event: post(path, _tensors(event)), _first_output)

    def publishing(self) -> Server:
        """Start `driftline serve` and the predict flow, to be asked for predictions of events."""
        flow = self._stack.enter_context(self._site.run("predict"))
        program, port = self._serve()
        path = f"/v1/{_PIPELINE}/events?wait=10"
        return Server([program, flow], port, lambda event: post(path, _event(event)), _named("score"))

    def fastapi_inferring(self) -> Server:
        """Start the FastAPI program that scores rows."""
        program, port = self._fastapi("fastapi_infer", {})
        return Server([program], port, lambda event: post("/infer", _row(event)), _named("score"))

    def fastapi_with_loop(self) -> Server:
        """Start the FastAPI program that produces events and predicts in its own consumer loop."""
        topics = {"EVENTS": "bench_loop_events"}
        self._recreate(topics.values())
        program, port = self._fastapi("fastapi_events", self._on_kafka(topics))
        return Server([program], port, lambda event: post("/events", _event(event)), _named("p"))

    def fastapi_with_predictor(self) -> Server:
        """Start the FastAPI program that produces events and reads the predictions of another program."""
        topics = {"EVENTS": "bench_door_events", "ANSWERS": "bench_door_answers"}
        self._recreate(topics.values())
        environment = self._on_kafka(topics)
        log = self._folder / "predict_loop.log"
        command = FASTAPI.python("-m", "serving.predict_loop")
        predictor = self._stack.enter_context(running(command, HERE, environment, log))
        wait_for(predictor, lambda: "reading" in log.read_text())
        program, port = self._fastapi("fastapi_events", environment)
        return Server([program, predictor], port, lambda event: post("/events", _event(event)), _named("p"))

    def mlserver(self) -> Server:
        """Start MLServer with its scikit-learn runtime, and its default of one worker process."""
        folder, (http, grpc, metrics) = self._folder / _PIPELINE, (free_port() for _ in range(3))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        events = ten_numbers.events_file(self._folder / "trained_on.jsonl", _TRAINED_ON)
        trainer = MLSERVER.python("-m", "serving.train_pipeline", str(events), str(folder / "model.joblib"))
        subprocess.run(trainer, cwd=HERE, check=True)
        settings = {"debug": False, "host": "127.0.0.1", "http_port": http, "grpc_port": grpc}
        (folder / "settings.json").write_bytes(orjson.dumps(settings | {"metrics_port": metrics}))
        (folder / "model-settings.json").write_bytes(
            orjson.dumps(
                {
                    "name": _PIPELINE,
                    "implementation": "mlserver_sklearn.SKLearnModel",
                    "parameters": {"uri": "./model.joblib", "version": "v1"},
                }
            )
        )
        program = self._started("mlserver", MLSERVER.command(str(folder)), folder, {})
        ready = f"http://127.0.0.1:{http}/v2/models/{_PIPELINE}/ready"
        wait_for(program, lambda: _answers(ready))
        path = f"/v2/models/{_PIPELINE}/infer"
        return Server([program], http, lambda event: post(path, _tensor(event)), _last_output)

    def _serve(self) -> tuple[psutil.Popen, int]:
        port = free_port()
        environment = self._site.environment | {"DRIFTLINE_SERVE_PORT": str(port)}
        program = self._started("serve", [*COMMAND, "serve"], self._site.folder, environment)
        wait_for(program, lambda: _answers(f"http://127.0.0.1:{port}/v2/health/ready"))
        return program, port

    def _fastapi(self, module: str, environment: Mapping[str, str]) -> tuple[psutil.Popen, int]:
        port = free_port()
        command = FASTAPI.command(f"serving.{module}:app", "--port", str(port))
        program = self._started(module, command, HERE, environment)
        wait_for(program, lambda: _answers(f"http://127.0.0.1:{port}/openapi.json"))
        return program, port

    def _started(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> psutil.Popen:
        log = self._folder / f"{name}.log"
        return self._stack.enter_context(running(command, folder, environment, log))

    def _on_kafka(self, topics: Mapping[str, str]) -> dict[str, str]:
        return {"BROKER": self._address, **topics}

    def _recreate(self, topics: Sequence[str]) -> None:
        self._site.broker.delete_topics(list(topics))
        self._site.broker.create_topics([TopicSpec(topic) for topic in topics])


def _answers(url: str) -> bool:
    with suppress(URLError, ConnectionError), urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def _event(event: Event) -> bytes:
    return orjson.dumps({name: value for name, value in event.items() if name != "y"})


def _row(event: Event) -> bytes:
    return orjson.dumps({name: event[name] for name in model.NAMES})


def _tensors(event: Event) -> bytes:
    """Return a request to Driftline, which has a tensor for each feature."""
    inputs = [{"name": n, "shape": [1], "datatype": "FP64", "data": [event[n]]} for n in model.NAMES]
    return orjson.dumps({"inputs": inputs})


def _tensor(event: Event) -> bytes:
    """Return a request to MLServer, whose model has one matrix as its input."""
    row = [event[name] for name in model.NAMES]
    matrix = {"name": "predict", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return orjson.dumps({"inputs": [matrix], "outputs": [{"name": "predict_proba"}]})


def _named(field: str) -> Callable[[Any], float]:
    return lambda answer: float(answer[field])


def _first_output(answer: Any) -> float:
    return float(answer["outputs"][0]["data"][0])


def _last_output(answer: Any) -> float:
    return float(answer["outputs"][0]["data"][-1])
