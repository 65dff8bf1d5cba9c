"""Mirrors model versions in MLflow's registry: a copy for people, since the registry topic decides."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any, NamedTuple

from flows.core.exporting.facts import ModelFacts
from flows.core.exporting.model_card import model_card
from flows.core.lineage import Lineage
from flows.core.registry.version_names import ALIASES
from flows.core.stream.times import iso
from flows.errors import ConfigError, StoreError

_LONGEST_PARAMETER = 500  # characters, which every MLflow server takes
_VERSION, _SNAPSHOT = "driftline.version", "driftline.snapshot"  # the tags that identify a snapshot
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing goes to other hosts than the store
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow would retry for minutes
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MirroredVersion(NamedTuple):
    """A version in MLflow's registry; `is_new` is False if the same snapshot was there before."""

    name: str
    number: str
    is_new: bool


def mirror(facts: ModelFacts, aliases: Collection[str], store: str) -> MirroredVersion:
    """Return the version in MLflow's registry at the URI `store` of a snapshot; register it if needed.

    The version belongs to a run with the parameters and metrics, and with the lineage and the model card as
    artifacts. It gets the `aliases`, and loses those of an earlier role. The estimator stays on the models
    topic, since a pickle that lost its signature must not be loaded. Raises `ConfigError` without the package
    mlflow-skinny, and `StoreError` if MLflow refuses the URI or the store fails.
    """
    name = facts.lineage.pipeline
    with _explained(store):
        client = _client(store)
        number = _registered(client, facts.lineage)
        is_new = number is None
        if number is None:
            _ensure_model(client, name, facts.purpose)
            number = _register(client, facts)
        _name(client, name, number, aliases)
    return MirroredVersion(name, number, is_new)


def _client(store: str) -> Any:
    for variable, value in _DEFAULTS.items():
        os.environ.setdefault(variable, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise ConfigError(
            f"an export to MLflow needs the package mlflow-skinny ({error}); install `driftline[mlflow]`"
        ) from None
    return MlflowClient(tracking_uri=store, registry_uri=store)


def _registered(client: Any, lineage: Lineage) -> str | None:
    """Return the number of the version that holds the same snapshot, None if there is none."""
    versions = client.search_model_versions(f"name = '{lineage.pipeline}'")
    same = {_VERSION: lineage.version, _SNAPSHOT: lineage.snapshot.sha256}
    number = next((each.version for each in versions if same.items() <= each.tags.items()), None)
    return None if number is None else str(number)


def _ensure_model(client: Any, name: str, purpose: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=purpose)


def _register(client: Any, facts: ModelFacts) -> str:
    """Register a snapshot; the version comes last, so that a failure before leaves none."""
    lineage, tags = facts.lineage, _tags(facts)
    experiment = client.get_experiment_by_name(lineage.pipeline)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(lineage.pipeline)
    run = client.create_run(experiment_id, tags=tags, run_name=lineage.version)
    run_id = run.info.run_id
    client.log_batch(run_id, metrics=_metrics(lineage), params=_parameters(lineage))
    client.log_text(run_id, lineage.to_json().decode(), "lineage.json")
    client.log_text(run_id, model_card(facts), "model-card.md")
    client.set_terminated(run_id)
    version = client.create_model_version(
        lineage.pipeline,
        run.info.artifact_uri,
        run_id,
        tags=tags,
        description=lineage.cause,
        await_creation_for=None,  # MLflow would print that it waits
    )
    return str(version.version)


def _name(client: Any, model: str, number: str, aliases: Collection[str]) -> None:
    """Give a version its aliases, and take away those of an earlier role."""
    named = client.get_registered_model(model).aliases
    for alias in ALIASES:
        if alias in aliases:
            client.set_registered_model_alias(model, alias, number)
        elif str(named.get(alias)) == number:
            client.delete_registered_model_alias(model, alias)


def _tags(facts: ModelFacts) -> dict[str, str]:
    lineage, code = facts.lineage, facts.lineage.code
    tags = {
        _VERSION: lineage.version,
        _SNAPSHOT: lineage.snapshot.sha256,
        "driftline.parent": lineage.parent,
        "driftline.cause": lineage.cause,
        "driftline.created": iso(lineage.created),
        "driftline.labels": str(lineage.labels),
        "driftline.plan": lineage.plan,
        "driftline.task": facts.task,
        "mlflow.source.git.commit": None if code is None else code.commit,
        "driftline.clean": None if code is None else str(code.clean).lower(),
    }
    return {name: value for name, value in tags.items() if value is not None}


def _parameters(lineage: Lineage) -> list[Any]:
    from mlflow.entities import Param

    return [
        Param(f"{step}.{name}", str(value)[:_LONGEST_PARAMETER])
        for step, parameters in lineage.parameters.items()
        for name, value in parameters.items()
    ]


def _metrics(lineage: Lineage) -> list[Any]:
    from mlflow.entities import Metric

    return [
        Metric(f"{predictor}/{name}", value, lineage.created, lineage.labels)
        for predictor, values in lineage.metrics.items()
        for name, value in values.items()
        if value is not None and isfinite(value)
    ]


@contextmanager
def _explained(store: str) -> Iterator[None]:
    try:
        yield
    except (ConfigError, StoreError):
        raise
    except Exception as error:  # MLflow's own errors, and those of the stores behind it
        first = str(error).strip().partition("\n")[0]
        raise StoreError(
            f"MLflow at {store} failed: {type(error).__name__}: {first}; check that --out is the URL of an "
            "MLflow server, or sqlite:///FILE with the package mlflow installed"
        ) from error
