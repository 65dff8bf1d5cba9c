"""The commit of a project's directory, read by the real git."""

import shutil
import subprocess
from pathlib import Path

import pytest
from harness import unavailable

from flows.adapters.git.repository import code_version
from flows.core.lineage import CodeVersion


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory below the root of a repository with one commit."""
    if shutil.which("git") is None:
        unavailable("git is not installed: 'apt install git' or 'brew install git'")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    project = tmp_path / "shop"
    project.mkdir()
    (project / "orders.py").write_text("pipeline = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "first")
    return project


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_clean_tree_is_its_commit(repository: Path) -> None:
    assert code_version(repository) == CodeVersion(git(repository, "rev-parse", "HEAD"), clean=True)


def is_clean(directory: Path) -> bool:
    found = code_version(directory)
    assert found is not None
    return found.clean


def test_a_changed_file_of_the_project_is_not_clean(repository: Path) -> None:
    (repository / "orders.py").write_text("pipeline = 2\n")
    assert not is_clean(repository)


def test_an_untracked_module_is_not_clean_and_other_files_are(repository: Path) -> None:
    (repository / "state.db").write_text("")
    (repository.parent / "elsewhere.py").write_text("")
    assert is_clean(repository)
    (repository / "new model.py").write_text("")
    assert not is_clean(repository)


def test_a_directory_in_no_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_version(tmp_path) is None


def test_a_repository_without_a_commit_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    git(tmp_path, "init", "--quiet")
    assert code_version(tmp_path) is None


def test_without_git_there_is_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert code_version(repository) is None
