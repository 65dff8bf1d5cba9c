"""The files of one pipeline in the state directory."""

from dataclasses import dataclass
from pathlib import Path

from flows.adapters.bytewax.stored_slots import stored_states
from flows.adapters.sqlite.seed import Seed
from flows.core.features.entity_shard import Shards, stored_shards
from flows.core.features.plan import FeaturePlan
from flows.errors import ConfigError, StoreError
from flows.host import state_dir
from flows.host.block_files import BlockFiles
from flows.host.files import replacing


@dataclass(frozen=True)
class PipelineState:
    """The state of `pipeline` in the state directory `root`, which all pipelines of the project share."""

    root: Path
    pipeline: str

    @property
    def plan_file(self) -> Path:
        """The compiled feature plan; `driftline apply` writes it."""
        return self.root / "plans" / f"{self.pipeline}.json"

    def plan(self) -> FeaturePlan:
        """Return the feature plan; raises `ConfigError` before the first `driftline apply`."""
        state_dir.check(self.root)
        with state_dir.explained(self.root):
            content = self.plan_file.read_bytes() if self.plan_file.is_file() else b""
        if not content:
            raise ConfigError(f"pipeline {self.pipeline!r} has no feature plan yet; run `driftline apply`")
        return FeaturePlan.from_json(content)

    def keep_plan(self, plan: FeaturePlan) -> None:
        """Write the feature plan; raises `StoreError`, and then an earlier plan is unchanged."""
        file = self.plan_file
        try:
            state_dir.make_private(file.parent)
            with replacing(file) as unfinished:
                unfinished.write_bytes(plan.to_json())
        except OSError as error:
            raise StoreError(
                f"the feature plan cannot be written to {file}: {error.strerror}; {state_dir.remedy(error)}"
            ) from error

    def recovery_dir(self, flow: str) -> Path:
        """Return the folder of Bytewax's recovery store for a flow."""
        return self.root / "state" / self.pipeline / flow

    def blocks_dir(self, flow: str) -> Path:
        """Return the folder of the files to which a flow's stored state refers."""
        return self.root / "state" / self.pipeline / f"{flow}.blocks"

    def shards(self, partitions: int) -> Shards:
        """Return the shards of the predict flow's entities: one per partition, or as many as were stored.

        The number stays when the pipeline gets more partitions, because an entity's shard depends on it.
        Raises `StateError` or `ConfigError` for a recovery store that cannot be read.
        """
        stored = stored_states(self.recovery_dir("predict"), "windows")
        count = stored_shards(stored[-1]) if stored else partitions
        return Shards(count, lambda shard: BlockFiles(self.blocks_dir("predict") / str(shard)))

    def lock_file(self, process: str) -> Path:
        """Return the file that a flow, or one of its processes, locks while it runs."""
        return self.root / "state" / self.pipeline / f"{process}.lock"

    @property
    def seed_file(self) -> Path:
        """The initial state of the predict flow; `driftline backfill --seed` writes it."""
        return self.root / "state" / self.pipeline / "seed.db"

    def seed(self, plan: FeaturePlan, slots: int) -> Seed | None:
        """Return the seed, or None without a seed file; raises `ConfigError` if it is of another plan."""
        return Seed(self.seed_file, plan.hash, slots) if self.seed_file.exists() else None

    def secret(self) -> bytes:
        """Return the project's secret, which is created on first use; raises `ConfigError`."""
        return state_dir.secret(self.root / "secret")

    def identity(self) -> str:
        """Return the identity of the state directory; only a copy of the directory has the same one."""
        return state_dir.made_once(self.root / "engine").decode()
