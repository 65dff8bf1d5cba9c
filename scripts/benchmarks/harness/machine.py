"""The machine, the versions and the commit that a run measured."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scripts.benchmarks.peers.environments import PEERS, SERVERS
from scripts.tools.fresh import REPOSITORY

PACKAGES = ("bytewax", "confluent-kafka", "river", "orjson", "msgspec", "numpy")


def circumstances(seconds: float) -> dict[str, Any]:
    """Return the circumstances of a run that took `seconds`, ready for JSON."""
    return {
        "seconds": round(seconds),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "clean": not _git("status", "--porcelain"),
        "machine": {
            "cpu": _processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "load": [round(load, 2) for load in os.getloadavg()],
        },
        "versions": {"python": platform.python_version(), "kafka": _kafka_version(), **_packages()},
        "peers": {peer.name: list(peer.requirements) for peer in (*PEERS, *SERVERS)},
    }


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.processor()


def _kafka_version() -> str:
    found = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)", _text("scripts/kafka-pom.xml"))
    return found[1] if found else ""


def _text(name: str) -> str:
    return (REPOSITORY / name).read_text()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
