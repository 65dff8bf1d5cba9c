"""The registry: the fold of its entries, names of versions, and the version to return to."""

import pytest
from registry_entries import add, new_ledger

from flows.core.registry.entry import Snapshot
from flows.core.registry.registry import Registry
from flows.errors import UnknownVersion


def after(*changes: tuple) -> Registry:
    ledger = new_ledger()
    for steps, (change, version, *more) in enumerate(changes):
        add(ledger, change, version, steps, **(more[0] if more else {}))
    return ledger.registry


PROMOTED = (("born", "v1"), ("promoted", "v1"), ("born", "v2"), ("promoted", "v2"), ("demoted", "v1"))
ROLLBACK = {"lineage": {"restores": "v1"}}


def test_the_roles_follow_from_the_changes():
    registry = after(*PROMOTED, ("born", "v3"))
    assert {name: version.role for name, version in registry.versions.items()} == {
        "v1": "shadow",
        "v2": "champion",
        "v3": "challenger",
    }
    assert registry.next_restored == "r7"
    registry = after(*PROMOTED, ("retired", "v1"))
    assert registry.versions["v1"].role == "retired"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("v1", "v1"),
        ("champion", "v2"),
        ("challenger", "v3"),
        ("previous", "v1"),
        ("models:/shop@champion", "v2"),
        ("models:/shop@previous", "v1"),
        ("models:/shop/v3", "v3"),
    ],
)
def test_a_version_is_found_by_name_alias_or_uri(name, version):
    assert after(*PROMOTED, ("born", "v3")).find(name).name == version


@pytest.mark.parametrize("name", ["v9", "challenger", "models:/shop@challenger", ""])
def test_an_unknown_version_is_an_error_that_names_the_known_ones(name):
    with pytest.raises(UnknownVersion, match="must be one of v1, v2, champion, previous; see"):
        after(*PROMOTED).find(name)


def test_an_alias_that_does_not_exist_is_an_unknown_version():
    with pytest.raises(UnknownVersion, match="an alias must be one of champion, challenger, previous"):
        after(*PROMOTED).find("models:/shop@nobody")


def test_without_a_version_the_error_says_how_to_get_one():
    with pytest.raises(UnknownVersion, match=r"no model version yet, got 'champion'; .* run `driftline run`"):
        after().find("champion")


def test_each_alias_that_has_a_version_is_one_of_the_aliases():
    def aliases(*changes):
        return {alias: version.name for alias, version in after(*changes).aliases.items()}

    assert aliases() == {}
    assert aliases(*PROMOTED) == {"champion": "v2", "previous": "v1"}
    assert aliases(*PROMOTED, ("born", "v3"), ("born", "v4"))["challenger"] == "v4"


def test_the_previous_version_is_the_last_champion_that_no_rollback_replaced():
    assert after(*PROMOTED[:2]).previous() is None
    assert after(*PROMOTED).previous().name == "v1"
    rolled_back = (*PROMOTED, ("born", "v3", ROLLBACK), ("promoted", "v3"))
    assert after(*rolled_back).previous().name == "v1"
    assert after(*rolled_back, ("born", "v4"), ("promoted", "v4")).previous().name == "v3"


def test_a_champion_that_comes_back_from_the_shadow_replaced_a_bad_one():
    registry = after(*PROMOTED, ("promoted", "v1"), ("demoted", "v2"), ("born", "v3"), ("promoted", "v3"))
    assert registry.previous().name == "v1"


def test_a_version_keeps_its_last_stored_state():
    first, second = Snapshot("a" * 64, 1), Snapshot("b" * 64, 2)
    registry = after(
        ("born", "v1", {"snapshot": first}),
        ("checkpoint", "v1", {"snapshot": second, "learned": 70}),
        ("promoted", "v1", {"learned": 90}),
    )
    assert registry.find("v1").snapshot == second
    assert registry.find("v1").stored.learned == 70
    assert registry.find("v1").learned == 90


def test_what_was_refused_or_asked_for_changes_no_version():
    registry = after(*PROMOTED, ("refused", "v7", {"command": "c1"}), ("requested", "v2", {"command": "c2"}))
    assert set(registry.versions) == {"v1", "v2"}
    assert registry.has_answered("c1")
    assert registry.has_answered("c2")
    assert not registry.has_answered("c3")


def test_a_champion_is_frozen_until_it_is_unfrozen_or_another_one_is_promoted():
    def frozen(*changes):
        versions = after(*PROMOTED, ("frozen", "v2"), *changes).versions.values()
        return [version.name for version in versions if version.is_frozen]

    assert frozen() == ["v2"]
    assert frozen(("checkpoint", "v2")) == ["v2"]
    assert frozen(("unfrozen", "v2")) == []
    assert frozen(("born", "v3"), ("promoted", "v3"), ("demoted", "v2")) == []
    assert frozen(("born", "v3"), ("promoted", "v3"), ("retired", "v2"), ("frozen", "v3")) == ["v3"]
