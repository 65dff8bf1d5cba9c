"""The step of the predict flow that joins the parts of each batch."""

from flows.core.features.batch import EntityKey, Part
from flows.core.features.by_entity import BatchGatherer, EntityPart, SplitBatch
from flows.core.features.intake import Batch
from flows.core.features.plan import Aggregate, FeaturePlan, View
from flows.core.stream.broker import Record

PLAN = FeaturePlan("s", (View("sales", "shop", "tills", (Aggregate("n", "count", "", 1, "int"),)),))


def model(offset: int) -> Record:
    return Record("p.models", 0, offset, 0, b"v1", b"{}", ())


def test_a_batch_of_models_only_waits_for_the_batch_before_it_whose_parts_are_on_their_way() -> None:
    assemble = BatchGatherer(PLAN)
    first = SplitBatch(1, Batch([model(1)], [], []), [(EntityKey("shop", "north"), [])])
    second = SplitBatch(2, Batch([model(2)], [], []), [])
    assert list(assemble.take([first, second])) == []
    passed = assemble.take([EntityPart("0", 1, Part("shop", [], [], 0))])
    assert [vectors.batch for vectors in passed] == [first.batch, second.batch]
