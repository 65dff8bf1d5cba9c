"""Opens Feast's stores. Each method imports Feast, which takes seconds."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flows.core.features.batch import Question
from flows.core.features.lookups import Lookups, LookupTable
from flows.core.features.plan import FeaturePlan
from flows.core.features.windows.sliding import Value
from flows.core.serving.inference.named_rows import OnlineRows

if TYPE_CHECKING:
    from feast import FeatureStore

    from flows.adapters.feast.offline import OfflineStore
    from flows.adapters.feast.online import OnlineStore


class OnlineReader(NamedTuple):
    """The online store: the rows of stream views, and the table of batch views."""

    rows: OnlineRows
    table: LookupTable


@dataclass(frozen=True)
class FeatureStores:
    """The stores of the feature repository `repo`, by its Feast configuration `config`."""

    repo: Path
    config: str

    def feature_store(self) -> "FeatureStore":
        """Return Feast's feature store of the project."""
        from flows.adapters.feast.repo import open_store

        return open_store(self.repo, self.config)

    def stores(self, plan: FeaturePlan) -> tuple["OfflineStore", "OnlineStore"]:
        """Return the plan's part of the offline and of the online store."""
        from flows.adapters.feast.offline import OfflineStore
        from flows.adapters.feast.online import OnlineStore
        from flows.adapters.feast.repo import offline_folders

        store = self.feature_store()
        return OfflineStore(offline_folders(store, plan), plan), OnlineStore(store, plan)

    def lookups(self, plan: FeaturePlan) -> Lookups:
        """Return the reader of the plan's batch views in the online store; the plan must have some."""
        from flows.adapters.feast.lookup import OnlineTable

        return Lookups(plan, OnlineTable(self.feature_store(), plan))

    def online_reader(self, plan: FeaturePlan) -> "OnlineReader":
        """Return the reader of the plan's views in the online store, by the keys of entities."""
        from flows.adapters.feast.lookup import OnlineTable
        from flows.adapters.feast.tables.online_rows import StoredRows

        store = self.feature_store()
        return OnlineReader(StoredRows(store, plan), OnlineTable(store, plan))

    def past_lookups(
        self, plan: FeaturePlan, questions: Iterable[Question]
    ) -> dict[tuple[str, int], list[Value]]:
        """Return the features of batch views by the id and time (ms) of each question, as of that time.

        The plan must have batch views. Raises `StoreError`.
        """
        from flows.adapters.feast.lookup import past

        return past(self.feature_store(), plan, questions)
