"""Virtual environments for the peers' programs, with pinned versions."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parents[2] / ".driftline" / "bench" / "environments"
RIVER = "river==0.26.1"


@dataclass(frozen=True)
class Peer:
    """A program that does the same work; `arguments` are those of its Python."""

    name: str
    requirements: tuple[str, ...]
    arguments: tuple[str, ...]

    def command(self, *further: str) -> list[str]:
        """Return the command, with further arguments; installs the environment first if it is missing."""
        return self.python(*self.arguments, *further)

    def python(self, *arguments: str) -> list[str]:
        """Return the command of another program in the environment."""
        return [str(self._python()), *arguments]

    def _python(self) -> Path:
        folder = ENVIRONMENTS / "-".join((self.name, *self.requirements)).replace("=", "").replace("/", "_")
        python = folder / "bin" / "python"
        if not (folder / "installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *self.requirements], check=True)
            (folder / "installed").touch()
        return python


QUIX = Peer("Quix Streams", ("quixstreams==3.28.1", RIVER), ("quix.py",))
BYTEWAX = Peer(
    "stock Bytewax",
    ("bytewax==0.21.1", "confluent-kafka==2.16.1", "orjson==3.13.0", RIVER),
    ("-m", "bytewax.run", "stock_bytewax"),
)
FAUST = Peer(
    "Faust",
    ("faust-streaming==0.15.3", "uvloop==0.22.1", "orjson==3.13.0", "cramjam==2.11.0", RIVER),
    ("faust_app.py",),
)
PEERS = (QUIX, BYTEWAX, FAUST)

FASTAPI = Peer(
    "FastAPI",
    ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "confluent-kafka==2.16.1", RIVER),
    ("-m", "uvicorn", "--no-access-log", "--log-level", "warning"),
)
MLSERVER = Peer(
    "MLServer",
    # its worker process does not start with a newer uvloop
    ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "scikit-learn==1.9.1", "uvloop==0.21.0"),
    ("-m", "mlserver.cli.main", "start"),
)
SERVERS = (FASTAPI, MLSERVER)
