"""Makes the backtest of a project's pipeline."""

from collections.abc import Iterable

from flows.backtest.backtest import Backtest, questions
from flows.core.stream.broker import Outgoing
from flows.host.functions import load_transformer
from flows.runtime.engine import Engine
from flows.runtime.learner import new_learner


def new_backtest(engine: Engine, records: Iterable[Outgoing]) -> Backtest:
    """Return the backtest of a pipeline, as it is declared and applied, over these records.

    Feast joins the features of batch views, for which it reads the records once more. Raises `ConfigError`
    and `StoreError`.
    """
    pipeline, plan = engine.pipeline, engine.state.plan()
    looked_up = {}
    if plan.lookups:
        looked_up = engine.stores.past_lookups(plan, questions(pipeline, records, plan.key_kinds))
    return Backtest(pipeline, plan, new_learner(pipeline, plan), load_transformer(plan), looked_up)
