"""Kills flows at random moments, on real Kafka and real Redis, and verifies what is left.

All five flows run over real flights, under their supervisor, the predictor as one, two and three processes in
turns. Each flow is killed (SIGKILL) equally often, at moments in which it has work: the seed draws who, and
after how many predictions. Now and then the supervisor is killed. Then a verifier that reads only the topics
and the online store prints what was lost, what is there twice, and what differs from a clean run.

It makes its own project in .driftline/chaos, anew on every run, and its own Kafka and Redis. DRIFTLINE_BROKER
names another Kafka, whose topics flights, departures, arrivals and flight_labels are then deleted first.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.errors import DriftlineError
from flows.runtime.runner import FLOWS
from scripts.faults.flights import records
from scripts.faults.kills import Chaos, Plan, TooSlow
from scripts.faults.servers import kafka, redis
from scripts.faults.site import SCRIPTS, Site, fresh_site
from scripts.faults.verify import SHOWN, Check, verify

HOME = SCRIPTS.parent / ".driftline" / "chaos"
SETTINGS = {
    "DRIFTLINE_FEATURE_STORE": "feature_store.redis.yaml",
    "DRIFTLINE_SECRET": "chaos" * 8,
    "DRIFTLINE_HTTP_PORT": "0",
    # small batches and long epochs: a kill comes between two snapshots
    "DRIFTLINE_BATCH": "500",
    "DRIFTLINE_EPOCH_SECONDS": "3",
}

EXAMPLES = """examples:
  scripts/chaos                                  50 kills during 200,000 events
  scripts/chaos --events 4000 --kills 10         two minutes
  scripts/chaos --seed 7 --seconds 1200          other moments, and no longer than 20 minutes
  scripts/chaos verify                           the verifier once more, over what the last run left
"""

console = Console(highlight=False)


def main() -> int:
    """Kill and verify; the exit code."""
    options = _options()
    try:
        if options.what == "run":
            shutil.rmtree(HOME, ignore_errors=True)
        with ExitStack() as servers:
            broker = servers.enter_context(kafka(HOME / "kafka"))
            store = servers.enter_context(redis(HOME / "redis"))
            environment = {**SETTINGS, "DRIFTLINE_BROKER": broker, "DRIFTLINE_REDIS": store}
            if options.what == "verify":
                return report(verify(Site(HOME / "project", environment), HOME / "clean", options.seconds))
            plan = Plan(options.events, options.kills, options.seed)
            site = fresh_site(HOME / "project", environment)
            return run(site, plan, options.seconds, HOME / "clean")
    except (DriftlineError, TooSlow) as error:
        console.print(f"[red]chaos:[/red] {error}")
        return 1


def run(site: Site, plan: Plan, seconds: float, clean: Path) -> int:
    """One whole run; the exit code."""
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
        chaos.run(records(plan.events))
    console.print(kills_table(chaos))
    checks = [*killed(chaos, wanted), *alerted(site, chaos), *verify(site, clean, seconds)]
    return report(checks)


def killed(chaos: Chaos, wanted: int) -> Iterator[Check]:
    """Whether all kills that were asked for took place."""
    missing = wanted - len(chaos.kills)
    yield Check(
        "kills of a flow at work that did not take place", wanted, [f"{missing} kills"] if missing else []
    )


def alerted(site: Site, chaos: Chaos) -> Iterator[Check]:
    """Whether each drift signal on the topic reached the webhook, and nothing else did."""
    with site.log() as log:
        topic = log.running.pipeline.topic("drift")
        signals = {dict(record.headers)["id"].decode() for record in log.records(topic)}
    yield Check(
        "alerts: drift signals that the webhook did not get",
        len(signals),
        sorted(signals ^ set(chaos.alerts)),
    )


def kills_table(chaos: Chaos) -> Table:
    """How often each flow was killed."""
    kills = chaos.by_flow()
    table = Table("flow", "kills", "records to go, least and most", title_justify="left")
    for flow in FLOWS:
        work = sorted(kill.lag for kill in chaos.kills if kill.flow == flow)
        table.add_row(flow, str(kills[flow]), f"{work[0]:,} to {work[-1]:,}" if work else "")
    table.add_row("supervisor", str(chaos.supervisors), "")
    table.title = f"{len(chaos.kills)} kills in {chaos.took:.0f} s; {chaos.repeated_alerts} alerts repeated"
    return table


def report(checks: "Iterator[Check] | Sequence[Check]") -> int:
    """Print the checks; 1 if one of them fails."""
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
    parser.add_argument("what", nargs="?", choices=("run", "verify"), default="run", help="by default run")
    parser.add_argument(
        "--events", type=int, default=200_000, help="flights to predict (200,000; at most 336,776)"
    )
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of flows (50), spread over all five")
    parser.add_argument(
        "--seconds",
        type=float,
        default=1_800,
        help="the longest that the kills, and the clean run, may each take (1,800)",
    )
    parser.add_argument("--seed", type=int, default=1, help="draws the victims and the moments (1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
