"""The engine's learner with its candidates on streams that do not change."""

from flows.policies import RetrainPolicy
from scripts.benchmarks.retraining.wrong_promotions import Plan, run

RUNS = 20
PLAN = Plan(challengers=5, before=2_000, labels=600)


def policy(significance: float) -> RetrainPolicy:
    return RetrainPolicy(challengers=5, significance=significance, block=10)


def test_of_five_candidates_one_that_is_not_better_wins_in_no_more_runs_than_declared() -> None:
    found = [run(seed, PLAN, policy(0.05)) for seed in range(RUNS)]
    assert [each.challengers for each in found] == [5] * RUNS
    assert sum(each.wrong > 0 for each in found) <= 0.05 * RUNS


def test_without_a_significance_worth_the_name_some_that_are_not_better_would_win() -> None:
    assert any(run(seed, PLAN, policy(0.999)).wrong for seed in range(RUNS))
