"""The Feast repository: open its feature store and apply its declarations.

Everything goes through Feast's own API and registry, so the engine runs exactly what a Feast client sees.
"""

import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import FeatureStore, OnDemandFeatureView, repo_operations

from flows.adapters.feast.declarations import PARTS
from flows.adapters.feast.errors import explained, line
from flows.adapters.feast.registry_file import prepare_files, write_registry_whole
from flows.core.features.plan import FeaturePlan
from flows.errors import ConfigError
from flows.host.functions import reference


def open_store(repo: Path, yaml: str) -> FeatureStore:
    """Return the feature store that the file `yaml` in `repo` describes, without connecting to it.

    Raises `ConfigError` if the file is missing or invalid, or names an environment variable that is not set.
    """
    path = repo.resolve() / yaml
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist; name the Feast repository and its YAML file in the settings"
        )
    try:
        store = FeatureStore(repo_path=str(path.parent), fs_yaml_file=path)
        address = getattr(store.config.online_store, "connection_string", "")
    except Exception as error:
        raise ConfigError(f"{yaml}: {line(error)}") from error
    if "$" in address.partition(",")[0]:
        raise ConfigError(
            f"{yaml} needs the environment variable {address.strip('${}')}; set it to host:port"
        )
    return store


def apply(repo: Path, yaml: str) -> None:
    """Register what the repository declares and create the stores' tables, as `feast apply` does.

    Raises `ConfigError` for a declaration that Python or Feast refuses, and `StoreError` for a store that is
    unavailable. Earlier registrations stay then.
    """
    store = open_store(repo, yaml)
    with _declared(repo.resolve(), store) as contents:
        try:
            prepare_files(store)
            write_registry_whole(store)
            for view in contents.on_demand_feature_views:
                _register_by_import(view)
            new, old, _, _ = repo_operations.extract_objects_for_apply_delete(
                store.project, store.registry, contents
            )
            store.apply(new, objects_to_delete=old, partial=False)
        except Exception as error:
            raise explained(error, "feast apply") from error


def offline_folders(store: FeatureStore, plan: FeaturePlan) -> dict[str, Path]:
    """Return, for each view of the plan, the folder from which its batch source reads parquet parts."""
    return {
        view.name: Path(store.get_stream_feature_view(view.name).batch_source.path.removesuffix(PARTS))
        for view in plan.views
    }


def _register_by_import(view: OnDemandFeatureView) -> None:
    """Register the import of the view's function instead of its source, if it can be imported.

    Feast rebuilds a function from its registered source alone, without its module's imports and constants.
    """
    module, _, name = reference(view.udf).partition(":")
    if name and not view.udf_string:
        view.feature_transformation.udf_string = view.udf_string = f"from {module} import {name}"


@contextmanager
def _declared(repo: Path, store: FeatureStore) -> Iterator[Any]:
    """Yield the objects that the repository's Python files declare.

    Feast imports the files by their path from the working directory. They are removed from `sys.modules`
    afterwards, so that files of the same names in another repository can be imported.
    """
    wrote_bytecode = sys.dont_write_bytecode  # Feast sets it to True
    before = set(sys.modules)
    sys.path.insert(0, str(repo))
    try:
        with chdir(repo):
            yield _contents(repo, store)
    finally:
        sys.dont_write_bytecode = wrote_bytecode
        sys.path.remove(str(repo))
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(repo)):
                del sys.modules[name]


def _contents(repo: Path, store: FeatureStore) -> Any:
    remarks = StringIO()
    try:
        with redirect_stdout(remarks):
            return repo_operations._get_repo_contents(repo, store.project, store.config)
    except SystemExit:  # Feast prints the reason and exits
        raise ConfigError(f"{repo.name}: {remarks.getvalue().strip()}") from None
    except Exception as error:
        raise ConfigError(
            f"the declarations in {repo.name} are wrong: {line(error)}; correct them"
        ) from error
