"""Kills flows at random moments, on real Kafka and Redis, and verifies the result.

All five flows process real flights under their supervisor, the predict flow as one, two and three processes
in turns. Each flow is killed (SIGKILL) equally often while it has work; the seed draws the victims and the
moments. The supervisor is killed too. Afterwards a verifier, which reads only the topics and the online
store, prints what was lost, what is duplicated, and what differs from a run without kills.

The project is in .driftline/chaos and is recreated on every run, with its own Kafka and Redis. If
DRIFTLINE_BROKER names another Kafka, its topics flights, departures, arrivals and flight_labels are deleted.
"""

import argparse
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.core.stream.broker import Outgoing
from flows.errors import DriftlineError
from flows.runtime.runner import FLOWS
from scripts.faults.checks.check import SHOWN, Check
from scripts.faults.flights import records, turning
from scripts.faults.kills import Chaos, TooSlow
from scripts.faults.plan import Plan
from scripts.faults.servers import kafka, redis
from scripts.faults.serving.kills import RATE, Serving
from scripts.faults.serving.report import attempts_table
from scripts.faults.site import SCRIPTS, Site, fresh_site
from scripts.faults.verify import verify, verify_models

PACE = 75.0  # events per second, with models that come and go
HOME = SCRIPTS.parent / ".driftline" / "chaos"
SETTINGS = {
    "DRIFTLINE_FEATURE_STORE": "feature_store.redis.yaml",
    "DRIFTLINE_SECRET": "chaos" * 8,
    "DRIFTLINE_HTTP_PORT": "0",
    # small batches and long epochs, so that kills fall between two snapshots
    "DRIFTLINE_BATCH": "500",
    "DRIFTLINE_EPOCH_SECONDS": "3",
}

EXAMPLES = """examples:
  scripts/chaos                                  50 kills during 200,000 events
  scripts/chaos --events 4000 --kills 10         two minutes
  scripts/chaos --seed 7 --seconds 1200          other victims and moments; at most 20 minutes
  scripts/chaos models                           kills of learn and retrain while models come, win and go
  scripts/chaos serve                            kills of driftline serve and of predict under 200 requests/s
  scripts/chaos verify                           verify the last run again
"""

console = Console(highlight=False)


def main() -> int:
    """Kill and verify; return the exit code."""
    options = _options()
    try:
        if options.what != "verify":
            shutil.rmtree(HOME, ignore_errors=True)
        with ExitStack() as servers:
            broker = servers.enter_context(kafka(HOME / "kafka"))
            if options.what == "serve":
                requests, kills = options.events or 12_000, options.kills or 4
                return run_serve({**SETTINGS, "DRIFTLINE_BROKER": broker}, requests, kills, options.seed)
            store = servers.enter_context(redis(HOME / "redis"))
            environment = {**SETTINGS, "DRIFTLINE_BROKER": broker, "DRIFTLINE_REDIS": store}
            if options.what == "verify":
                return report(verified(Site(HOME / "project", environment), options.seconds))
            if options.what == "models":
                plan = plan_of_models(options.events or 30_000, options.kills or 50, options.seed)
                site = fresh_site(HOME / "project", environment, "models_pipeline")
                return run(site, plan, turning(plan.events), options.seconds)
            plan = Plan(options.events or 200_000, options.kills or 50, options.seed)
            site = fresh_site(HOME / "project", environment)
            return run(site, plan, records(plan.events), options.seconds)
    except (DriftlineError, TooSlow) as error:
        console.print(f"[red]chaos:[/red] {error}")
        return 1


def run_serve(environment: Mapping[str, str], requests: int, kills: int, seed: int) -> int:
    """Kill `driftline serve` and the predict flow while callers ask; return the exit code."""
    site = fresh_site(HOME / "project", environment | {"DRIFTLINE_FEATURE_STORE": "feature_store.yaml"})
    console.print(f"seed {seed}: {kills} kills, {requests:,} requests, {RATE:g} a second")
    serving = Serving(site, requests, kills, seed, console.print)
    checks = serving.run()
    console.print(attempts_table(serving.callers))
    return report(checks)


def plan_of_models(events: int, kills: int, seed: int) -> Plan:
    """Return the plan of a run in which models come, win and go, and a person commands them.

    The flights come no faster than candidates can be trained and compared before their meaning turns.
    """
    flows = ("predict", "learn", "retrain")
    victims, commands = ("learn", "retrain"), kills // 2
    return Plan(events, kills, seed, flows, victims=victims, pace=PACE, commands=commands)


def run(site: Site, plan: Plan, sent: Iterable[Outgoing], seconds: float) -> int:
    """Run the plan and verify it; return the exit code."""
    wanted = plan.kills
    console.print(
        f"seed {plan.seed}: {wanted} kills, {plan.events:,} events, predict as {plan.phases} processes"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=plan.events)

        def advance(predictions: int, doing: str) -> None:
            bar.update(task, completed=predictions, description=doing)

        chaos = Chaos(site, plan, seconds, bar.console.print, advance)
        chaos.run(sent)
    console.print(kills_table(chaos))
    alerts = alerted(site, chaos) if "alert" in plan.flows else ()
    return report([*killed(chaos, wanted), *alerts, *verified(site, seconds)])


def verified(site: Site, seconds: float) -> Iterator[Check]:
    """Return the checks of the project's pipeline."""
    if site.engine().pipeline.name == "models":
        return verify_models(site)
    return verify(site, site.directory.with_name("clean"), seconds)


def killed(chaos: Chaos, wanted: int) -> Iterator[Check]:
    """Check that all planned kills took place."""
    missing = wanted - len(chaos.kills)
    yield Check(
        "kills of a flow at work that did not take place", wanted, [f"{missing} kills"] if missing else []
    )


def alerted(site: Site, chaos: Chaos) -> Iterator[Check]:
    """Check that each drift signal on the topic reached the webhook, and nothing else."""
    with site.log() as log:
        topic = log.running.pipeline.topic("drift")
        signals = {dict(record.headers)["id"].decode() for record in log.records(topic)}
    yield Check(
        "alerts: drift signals that the webhook did not get",
        len(signals),
        sorted(signals ^ set(chaos.alerts)),
    )


def kills_table(chaos: Chaos) -> Table:
    """Return a table of the kills of each flow."""
    kills = chaos.by_flow()
    columns = ("flow", "kills", "records to go, least and most", "during a training")
    table = Table(*columns, title_justify="left")
    for flow in FLOWS:
        of_flow = [kill for kill in chaos.kills if kill.flow == flow]
        work, training = sorted(kill.lag for kill in of_flow), sum(kill.was_training for kill in of_flow)
        table.add_row(flow, str(kills[flow]), f"{work[0]:,} to {work[-1]:,}" if work else "", str(training))
    table.add_row("supervisor", str(chaos.supervisors), "", "")
    table.title = f"{len(chaos.kills)} kills in {chaos.took:.0f} s; {chaos.repeated_alerts} alerts repeated"
    return table


def report(checks: "Iterator[Check] | Sequence[Check]") -> int:
    """Print the checks; return 1 if one of them failed, else 0."""
    table = Table("check", "looked at", "wrong", "the first of them")
    failed = False
    for check in checks:
        first = "\n".join(map(str, check.wrong[:SHOWN]))
        style = "red" if check.wrong else ""
        table.add_row(check.name, f"{check.checked:,}", f"{len(check.wrong):,}", first, style=style)
        failed = failed or bool(check.wrong)
    console.print(table)
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what", nargs="?", choices=("run", "models", "serve", "verify"), default="run", help="default: run"
    )
    parser.add_argument(
        "--events",
        type=int,
        help="flights to predict (default: 200000, with `models` 30000; at most 336776); with `serve` the "
        "number of requests (default: 12000)",
    )
    parser.add_argument(
        "--kills", type=int, help="kills, spread over the flows (default: 50, with `serve` 4)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=1_800,
        help="time limit of the kills, and of the run without kills (default: 1800)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the victims and moments (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
