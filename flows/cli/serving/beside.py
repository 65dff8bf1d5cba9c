"""The server of `driftline serve` beside the flows of `driftline run`."""

import faulthandler
import os
from collections.abc import Collection
from functools import partial

from flows.cli.output import exit_code_of, note
from flows.cli.serving.extra import ADVICE, check_installed, missing
from flows.runtime.broker_url import is_embedded
from flows.runtime.engine import Engine, load_engines
from flows.runtime.runner import DUMP_STACKS, FLOWS, ProcessPlace
from flows.runtime.supervisor import Job


def server_jobs(engine: Engine, flows: Collection[str], serve: bool | None) -> list[Job]:
    """Return the job of a server beside these flows, if there is to be one.

    `serve` says so; by default there is one beside all flows on the embedded log, if its extra is installed.
    """
    if serve is None:
        if not is_embedded(engine.settings.broker) or set(flows) != set(FLOWS):
            return []
        if missing():
            note(f"the dashboard is not installed; {ADVICE}, or use --no-serve to be told no more")
            return []
    elif serve:
        check_installed()
    else:
        return []
    return [Job("serve", partial(_serve, engine.pipeline.name), dispensable=True)]


def _serve(pipeline: str, _place: ProcessPlace) -> int:
    """Serve the pipeline until SIGTERM, and return the exit code.

    Only this process imports the server. It has a low priority, so that predictions are not delayed.
    """
    faulthandler.register(DUMP_STACKS)
    os.nice(10)
    from flows.serve.admission.listening import bound_nearby
    from flows.serve.server import serve

    return exit_code_of(lambda: serve(load_engines(pipeline), note, bound_nearby))
