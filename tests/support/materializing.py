"""Runs the materialize flow, and opens the stores that it writes."""

from harness import Project, run_flow

from flows.runtime.engine import Engine


def store_of(project: Project, yaml: str = "feature_store.yaml"):
    """Return a plain Feast client."""
    from feast import FeatureStore

    repo = project.directory / "feature_repo"
    return FeatureStore(repo_path=str(repo), fs_yaml_file=repo / yaml)


def run(running: Engine, until=None) -> None:
    from flows.materialize import build  # imports Feast

    run_flow(running, "materialize", until, build)
