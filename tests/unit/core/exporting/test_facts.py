"""The limits of a version follow from its facts."""

from dataclasses import replace

from made_facts import LINEAGE, assessed, facts
from signals import CONCEPT_ALARM

from flows.core.exporting.facts import limits
from flows.core.lineage import CodeVersion


def test_a_version_that_never_served_has_no_metrics() -> None:
    found = " ".join(limits(facts()))
    assert "never served as champion" in found
    assert "after 4,000 labels" in found
    assert "commit" not in found


def test_unknown_and_changed_code_is_a_limit() -> None:
    unknown = facts(lineage=LINEAGE._replace(code=None))
    assert "The commit of its code is not known." in limits(unknown)
    changed = facts(lineage=LINEAGE._replace(code=CodeVersion("0123", clean=False)))
    assert "Its code differs from the commit named in the lineage." in limits(changed)


def test_labels_that_are_missing_and_groups_that_are_small_are_limits() -> None:
    found = limits(facts(measured={**assessed(120), "assumed": 3}))
    assert "7 predictions got no label in time and are in no metric." in found
    assert "3 labels were assumed, since none arrived." in found
    assert any(text.startswith("Some groups of origin have too few labels") for text in found)
    enough = limits(facts(measured=assessed(400)))
    assert not any("too few" in text for text in enough)


def test_metrics_over_earlier_champions_are_a_limit_unless_it_is_the_first() -> None:
    measured = assessed(400)
    assert any("earlier champions" in text for text in limits(facts(measured=measured)))
    first = facts(measured=measured, lineage=LINEAGE._replace(parent=None))
    assert not any("earlier champions" in text for text in limits(first))


def test_drift_is_a_limit_while_it_fires() -> None:
    assert any("Drift was met" in text for text in limits(facts(signals=(CONCEPT_ALARM,))))
    resolved = replace(CONCEPT_ALARM, status="resolved")
    assert not any("Drift was met" in text for text in limits(facts(signals=(resolved,))))


def test_the_answer_names_the_target_of_each_task() -> None:
    answers = {facts(task=task).answer for task in ("binary", "multiclass", "regression", "anomaly")}
    assert len(answers) == 4
    assert "the probability that `late` is true, from 0 to 1" in answers
