"""Creates the project of a demo or benchmark."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from flows.runtime.engine import Engine, load_engine

REPOSITORY = Path(__file__).resolve().parents[2]


def fresh_project(directory: Path) -> Engine:
    """Create and apply the flight_delays project in `directory`, and delete its topics on the broker.

    Deletes the previous content of `directory` and makes it the working directory.
    """
    fresh_folder(directory, "flight_delays")
    os.chdir(directory)
    running = load_engine()
    broker = running.open_broker()
    broker.delete_topics(running.pipeline.topics)
    broker.close()
    subprocess.run([sys.executable, "-m", "flows.cli.app", "apply"], check=True)
    return running


def fresh_folder(directory: Path, pipeline: str) -> Path:
    """Replace `directory` by the files of a project with one of the ready pipelines, and return it."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(REPOSITORY / "feature_repo", directory / "feature_repo")
    (directory / "driftline.toml").write_text(
        f'feature_repo = "feature_repo"\npipelines = ["flows.pipelines.{pipeline}"]\n'
    )
    return directory
