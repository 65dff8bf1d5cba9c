"""Reads the commit of a project's directory."""

import shutil
import subprocess
from pathlib import Path

from flows.core.lineage import CodeVersion

_SECONDS = 30.0
_UNTRACKED = "??"


def code_version(directory: Path) -> CodeVersion | None:
    """Return the commit that is checked out in `directory`, and whether the files there are as committed.

    They are if no tracked file differs and no Python file is untracked. Return None if git is not installed,
    the directory is in no repository, or there is no commit.
    """
    commit = _git(directory, "rev-parse", "--verify", "HEAD")
    status = _git(directory, "status", "--porcelain", "--untracked-files=all", "--", ".")
    if commit is None or status is None:
        return None
    return CodeVersion(commit.strip(), not any(map(_is_change, status.splitlines())))


def _is_change(line: str) -> bool:
    return not line.startswith(_UNTRACKED) or line.rstrip('"').endswith(".py")


def _git(directory: Path, *arguments: str) -> str | None:
    """Return what git prints, None if it fails; it takes no lock and runs no helper of the repository."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "--no-optional-locks", "-C", str(directory), "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(  # noqa: S603  fixed arguments
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
