"""Feast's own point-in-time join, asked as any client of it would."""

import warnings
from typing import Any

import prometheus_client  # noqa: F401  first: Feast's import turns on its multiprocess mode

# isort: split
from feast import FeatureStore

from flows.errors import StoreError


def point_in_time_join(store: FeatureStore, service: str, questions: Any) -> Any:
    """The service's features, under their full names, for each row of the Arrow table `questions`.

    It has `event_timestamp`, the join keys and the fields that on-demand views ask for; its other columns
    come back as they are. Raises `StoreError` where Feast cannot answer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Feast says at each call what is experimental
            job = store.get_historical_features(
                entity_df=questions.to_pandas(),
                features=store.get_feature_service(service),
                full_feature_names=True,
            )
            return job.to_arrow()
    except Exception as error:
        raise StoreError(
            f"Feast's point-in-time join failed ({type(error).__name__}: {error}); "
            "check the offline store, or leave the comparison out with --no-feast"
        ) from error
