"""`driftline apply` and `driftline run`."""

import signal
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import PipelineOption, examples
from flows.cli.output import err, exit_code_of, note, warn
from flows.errors import ConfigError

if TYPE_CHECKING:
    from flows.core.features.plan import FeaturePlan
    from flows.runtime.engine import Engine
    from flows.runtime.topics import Made

commands = typer.Typer()

FlowsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="FLOW", help="Among predict, learn, materialize, alert, retrain. Default: all."),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Processes of the predict flow; at most the pipeline's partitions."
    ),
]

TogetherOption = Annotated[
    bool,
    typer.Option(
        "--together",
        help="Run the flows as threads of one process, for small machines: less memory, on one core.",
    ),
]

ServeOption = Annotated[
    bool | None,
    typer.Option(
        "--serve/--no-serve",
        help="Also run the server of `driftline serve`, with the dashboard. Default: with all flows, on the "
        "embedded log.",
    ),
]


@commands.command(epilog=examples("driftline apply", "driftline apply --pipeline flight_delays"))
def apply(pipeline: PipelineOption = "") -> None:
    """Register features, compile the plans, create the topics.

    Run it once, and again after each change of a declaration. Existing topics and state are kept. Without
    --pipeline it applies all pipelines of the project.
    """
    from flows.host import state_dir
    from flows.runtime import topics
    from flows.runtime.engine import load_engines
    from flows.runtime.runner import FLOWS

    chosen = load_engines(pipeline)
    first = chosen[0]
    state_dir.make(first.settings.state_dir)
    with closing(first.open_broker()) as broker:
        for each in chosen:  # before the import of Feast, which takes seconds
            topics.check(each.pipeline, each.state, broker, FLOWS)
        plans = _compile_all(chosen)
        for each, plan in zip(chosen, plans, strict=True):
            each.state.keep_plan(plan)
            _report(each, plan, topics.make(each.pipeline, broker))


def _compile_all(chosen: "Sequence[Engine]") -> "list[FeaturePlan]":
    """Apply the feature repository, and return the plan of each pipeline."""
    with err.status("importing Feast and applying the feature repository"):
        from flows.adapters.feast import repo

        first = chosen[0]
        repo.apply(first.project.feature_repo, first.settings.feature_store)
        first.sealer()  # creates the secret before several flows need it at once
        return [_compile(each) for each in chosen]


def _compile(running: "Engine") -> "FeaturePlan":
    """Return the pipeline's feature plan, checked against the declaration."""
    from flows.adapters.feast import repo
    from flows.adapters.feast.compiler import compile_plan
    from flows.adapters.feast.offline import OfflineStore
    from flows.core.stream.times import in_milliseconds
    from flows.runtime.validation import check_plan

    folder, yaml = running.project.feature_repo, running.settings.feature_store
    lateness = in_milliseconds(running.pipeline.lateness)
    plan = compile_plan(folder, yaml, running.pipeline.service, lateness)
    check_plan(running.pipeline, plan)
    # creates an empty part, without which Feast cannot read the history yet
    OfflineStore(repo.offline_folders(running.stores.feature_store(), plan), plan)
    return plan


def _report(running: "Engine", plan: "FeaturePlan", made: "Made") -> None:
    from flows.jobs.missing_ranges import missing_ranges_warning

    name = running.pipeline.name
    for remark in made.remarks:
        note(f"{name}: {remark}")
    number = len(plan.views) + len(plan.lookups)
    views = "1 view" if number == 1 else f"{number} views"
    note(
        f"{name}: {len(plan.names)} features in {views} (plan {plan.hash}), "
        f"{len(made.created)} topics created"
    )
    if warning := missing_ranges_warning(running.pipeline, plan):
        warn(warning)


@commands.command(
    epilog=examples("driftline run", "driftline run predict learn", "driftline run predict --processes 4")
)
def run(
    flows: FlowsArgument = None,
    processes: ProcessesOption = 1,
    together: TogetherOption = False,
    serve: ServeOption = None,
    pipeline: PipelineOption = "",
) -> None:
    """Run the flows until Ctrl-C, and the dashboard beside them.

    Each is a process of its own. A flow that crashes is restarted and resumes from its last stored state. The
    number of predict processes may change from run to run.
    """
    from flows.cli.serving.beside import server_jobs
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import FLOWS, prepare
    from flows.runtime.supervisor import Supervisor, flow_job

    chosen = list(dict.fromkeys(_known(flows or FLOWS, FLOWS)))
    running = load_engine(pipeline)
    if together and processes > 1:
        raise ConfigError(f"--together is one process, got --processes {processes}; leave one of them out")
    _check_processes(running, processes)
    beside = server_jobs(running, chosen, serve)
    prepare(running, chosen)
    name = running.pipeline.name
    _check_apart(name, chosen)
    jobs = [flow_job([flow], name, processes if flow == "predict" else 1) for flow in chosen]
    if together:
        jobs = [flow_job(chosen, name)]
    supervisor = Supervisor([*jobs, *beside], lambda line: err.print(line, highlight=False))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.stop())
    raise typer.Exit(supervisor.run())


def _known(flows: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """Return `flows`; raise `ConfigError` for one that does not exist."""
    for flow in flows:
        if flow not in known:
            raise ConfigError(f"FLOW must be one of {', '.join(known)}, got {flow!r}")
    return flows


def _check_apart(pipeline: str, flows: Sequence[str]) -> None:
    """Check in another process, since the threads of a Kafka client do not survive the forks of this one."""
    from flows.host.children import Children

    if code := Children().run("checks", _checked, pipeline, flows):
        raise typer.Exit(code)


def _checked(pipeline: str, flows: Sequence[str]) -> int:
    return exit_code_of(lambda: _check(pipeline, flows))


def _check(pipeline: str, flows: Sequence[str]) -> None:
    """Raise `DriftlineError` for a mistake that would make each flow fail when it starts."""
    from flows.host import state_dir
    from flows.runtime.engine import load_engine
    from flows.runtime.locks import await_free
    from flows.runtime.runner import check_sole, check_topics
    from flows.runtime.webhook_targets import webhook_targets

    running = load_engine(pipeline)
    state_dir.make(running.settings.state_dir)
    running.state.plan()
    check_topics(running)
    webhook_targets(running.settings.webhooks, running.project.pipelines)
    await_free(running.state, flows)
    for flow in flows:
        check_sole(running, flow)


def _check_processes(running: "Engine", processes: int) -> None:
    """Raise `ConfigError` if a process would have no partition to read."""
    partitions = running.pipeline.partitions
    if processes > partitions:
        raise ConfigError(
            f"--processes must be at most {partitions}, the partitions of {running.pipeline.name}, "
            f"got {processes}; run fewer, or declare more partitions"
        )
