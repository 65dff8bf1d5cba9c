"""`driftline explain`."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import err, print_json, progress
from flows.host.tables import console, print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from flows.core.explaining.explanation import Explanation
    from flows.jobs.explanation import ExplainedPrediction

commands = typer.Typer()

EventsArgument = Annotated[list[str], typer.Argument(metavar="EVENT_ID...", help="The ids of events.")]
TopOption = Annotated[
    int, typer.Option("--top", min=1, metavar="N", help="Show the N features that matter most.")
]

_METHODS = {
    "linear": "exact for a linear model",
    "trees": "exact for trees (path-dependent TreeSHAP)",
    "coalitions": "exact over all coalitions of features",
    "sampling": "approximate, by a sample of the orders of features",
}


@commands.command(
    epilog=examples(
        "driftline explain 2013-01-01-UA-1545-EWR",
        "driftline explain A-4711 --top 3",
        "driftline explain 17 18 19 --json",
    )
)
def explain(
    event_ids: EventsArgument, top: TopOption = 10, as_json: JsonOption = False, pipeline: PipelineOption = ""
) -> None:
    """Explain predictions: what each feature contributed to them.

    A prediction is compared with those before it. The contributions and the base add up to the score, which
    is in log-odds for a logistic regression. The score is reproduced bit for bit, by the model of the topic
    or by one that learns the logged labels again.
    """
    from flows.jobs.explanation import Explainer, summary
    from flows.jobs.training_set import predictions_in
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import check_topics

    running = load_engine(pipeline)
    check_topics(running)
    with closing(running.open_broker()) as broker:
        total = predictions_in(running.pipeline, broker)
        explainer = Explainer(running, broker)
        with progress("searching", total) as advance:
            found = explainer.find(event_ids, advance)
        for each in found:
            with err.status("explaining"):
                explained = explainer.explain(each)
            if as_json:
                print_json(summary(explained, top))
            else:
                _print(console(), explained, top)


def _print(to: "Console", explained: "ExplainedPrediction", top: int) -> None:
    from flows.core.stream.times import iso

    prediction, found = explained.served.prediction, explained.explanation
    print_line(to, f"event        {prediction.id} at {iso(prediction.time)}")
    print_line(to, f"score        {_number(prediction.score)}, {_model_line(explained)}")
    print_line(to, f"explained    {found.unit} {found.output:.4f} = base {found.base:.4f} + contributions")
    print_line(to, f"base         the mean over {_base_line(found)}")
    print_line(to, f"method       {_METHODS[found.method]}; {found.scores:,} scores computed")
    _print_contributions(to, found, top)
    if found.alternatives:
        print_line(to, "the score if one feature alone had the value of another prediction:")
        cells = [(a.feature, _shown(a.value), a.score, a.change) for a in found.alternatives[:top]]
        print_table(to, ("feature", "with", "score", "change"), cells)


def _number(score: Any) -> str:
    if isinstance(score, dict):
        return ", ".join(f"{name} {number:.4f}" for name, number in score.items())
    return f"{score:.4f}"


def _model_line(explained: "ExplainedPrediction") -> str:
    """Return which model scored, and with which it is explained."""
    learned, (model, reproduced) = explained.served.learned, explained.model
    scored = f"by model {model.version}" + ("" if learned is None else f" after {learned:,} events learned")
    if reproduced:
        return f"{scored}; reproduced bit for bit"
    if learned is None:
        return f"{scored}; explained with that after {model.learned:,} events, which scores otherwise"
    apart = model.learned - learned
    events = f"{abs(apart):,} {'more' if apart >= 0 else 'fewer'} events"
    return f"{scored}; that model is not on the topic: explained with the model after {events}"


def _base_line(found: "Explanation") -> str:
    return (
        f"{found.rows:,} neighbouring predictions" if found.rows else "the events that the trees have learned"
    )


def _print_contributions(to: "Console", found: "Explanation", top: int) -> None:
    """Print the largest contributions; the last row has the sum of the others."""
    shown, others = found.contributions[:top], found.contributions[top:]
    rows = [(c.feature, _shown(c.value), c.contribution, c.error) for c in shown]
    if others:
        rows.append((f"{len(others):,} others", "", sum(c.contribution for c in others), None))
    names = ("feature", "value", "contribution", "standard error")
    columns = len(names) if found.method == "sampling" else len(names) - 1
    print_table(to, names[:columns], [row[:columns] for row in rows])


def _shown(value: Any) -> str:
    """Return a feature's value; a null one is not an empty text."""
    return "null" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
