"""The steps of the predict flow from the intake to the feature vectors."""

from flows.core.features.batch import EntityKey, Part, Question
from flows.core.features.by_shard import BatchGatherer, BatchSplitter, ShardParts, SplitBatch, unwindowed
from flows.core.features.intake import Batch
from flows.core.features.plan import Aggregate, FeaturePlan, View
from flows.core.stream.broker import Record

PLAN = FeaturePlan("s", (View("sales", "shop", "tills", (Aggregate("n", "count", "", 1, "int"),)),))


def model(offset: int) -> Record:
    return Record("p.models", 0, offset, 0, b"v1", b"{}", ())


def test_a_batch_of_models_only_waits_for_the_batch_before_it_whose_parts_are_on_their_way() -> None:
    assemble = BatchGatherer(PLAN)
    first = SplitBatch(1, Batch([], [], [], [(0, model(1))], []), {0: [(EntityKey("shop", "north"), [])]})
    second = SplitBatch(2, Batch([], [], [], [(0, model(2))], []), {})
    assert list(assemble.take([first, second])) == []
    passed = assemble.take([ShardParts("0", 1, [Part("shop", [], [], 0)])])
    assert [vectors.batch for vectors in passed] == [first.batch, second.batch]


def test_without_views_the_vectors_are_those_that_the_entities_would_give() -> None:
    plan = FeaturePlan("s", ())
    record = Record("sales", 0, 0, 1, b"a", b"{}", ())
    question = Question("a", 1, {}, 1000, (), "")
    batch = Batch([question], [question], [record], [(1, model(1))], [])
    assemble = BatchGatherer(plan)
    assert assemble.take([BatchSplitter(plan, 1)(batch)]) == [unwindowed(batch)]
    assert unwindowed(batch).vectors == [[]]
