"""`driftline dead-letters`: lists dead letters, shows one, and sends them again."""

import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import print_json
from flows.errors import ConfigError
from flows.host.tables import console, print_line, print_table

if TYPE_CHECKING:
    from flows.core.stream.broker import Broker
    from flows.core.stream.dead_letter import DeadLetter
    from flows.runtime.engine import Engine

commands = typer.Typer(no_args_is_help=True, help="List, show or replay dead letters.")

ReasonOption = Annotated[
    str,
    typer.Option(metavar="REASON", help="Only dead letters of this reason, such as schema. Default: all."),
]
TopicOption = Annotated[
    str, typer.Option(metavar="TOPIC", help="Only records that came from this topic. Default: all.")
]
NewestOption = Annotated[
    int, typer.Option("-n", min=1, metavar="N", help="List the newest N; the counts include all.")
]
PlaceArgument = Annotated[
    str, typer.Argument(metavar="PARTITION/OFFSET", help="Place of the dead letter on its topic.")
]
PlacesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="PARTITION/OFFSET", help="Places of dead letters. Default: all that match."),
]
RawOption = Annotated[bool, typer.Option("--raw", help="Write only the bytes of the record's value.")]


@commands.command(
    "list",
    epilog=examples("driftline dead-letters list", "driftline dead-letters list --reason late -n 5"),
)
def list_letters(
    reason: ReasonOption = "",
    topic: TopicOption = "",
    newest: NewestOption = 20,
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Count dead letters by reason and topic; list the newest."""
    from flows.jobs.dead_letters import LetterFilter, check_reason, letters

    wanted = LetterFilter(reason, topic)
    check_reason(wanted)
    counts: Counter[tuple[str, str]] = Counter()
    last: deque[DeadLetter] = deque(maxlen=newest)
    with _opened(pipeline) as (running, broker):
        for letter in letters(running.pipeline, broker, wanted):
            counts[letter.reason, letter.origin] += 1
            last.append(letter)
    if as_json:
        counted = [{"reason": r, "topic": t, "letters": n} for (r, t), n in sorted(counts.items())]
        print_json({"counts": counted, "newest": [_described(letter) for letter in last]})
        return
    to = console()
    print_table(to, ("reason", "topic", "letters"), [(*key, n) for key, n in sorted(counts.items())])
    print_table(to, ("at", "time", "reason", "record", "detail"), [_row(letter) for letter in last])


def _row(letter: "DeadLetter") -> tuple[str, ...]:
    record = f"{letter.origin}/{letter.partition}/{letter.offset}"
    return (letter.place, letter.time, letter.reason, record, letter.detail)


@commands.command(
    "show",
    epilog=examples(
        "driftline dead-letters show 0/17", "driftline dead-letters show 0/17 --raw > record.bin"
    ),
)
def show_letter(at: PlaceArgument, raw: RawOption = False, pipeline: PipelineOption = "") -> None:
    """Print one dead letter: its reason, origin, headers, key and value."""
    from flows.jobs.dead_letters import letter_at

    if raw and sys.stdout.isatty():
        raise ConfigError("--raw must write to a file or a pipe, got a terminal; add `> FILE`")
    with _opened(pipeline) as (running, broker):
        letter = letter_at(running.pipeline, broker, at)
    if raw:
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.flush()
        return
    headers = {name: _text(value) for name, value in letter.headers}
    key, value = _text(letter.key), _text(letter.value)
    print_json(_described(letter) | {"headers": headers, "key": key, "value": value})


@commands.command(
    "replay",
    epilog=examples(
        "driftline dead-letters replay 0/17 0/18", "driftline dead-letters replay --reason model"
    ),
)
def replay_letters(
    at: PlacesArgument = None,
    reason: ReasonOption = "",
    topic: TopicOption = "",
    pipeline: PipelineOption = "",
) -> None:
    """Send dead letters again to the topics they came from.

    Correct the cause first: a record that fails again becomes a new dead letter. Each record is processed at
    most once, however often it is sent. Alerts are sent again by `driftline webhooks replay`.
    """
    from flows.jobs.dead_letters import LetterFilter, check_reason, check_topic, inputs_of, letter_at, letters
    from flows.jobs.dead_letters import replay as replay_chosen

    wanted = LetterFilter(reason, topic, at or ())
    if wanted == LetterFilter():
        raise ConfigError("nothing is chosen to replay; give PARTITION/OFFSET, --reason or --topic")
    with _opened(pipeline) as (running, broker):
        inputs = inputs_of(running.pipeline)
        check_reason(wanted)
        check_topic(wanted, inputs)
        chosen = [letter_at(running.pipeline, broker, place) for place in at or ()]
        result = replay_chosen(
            broker, filter(wanted.matches, chosen or letters(running.pipeline, broker, wanted)), inputs
        )
    to = console()
    print_line(to, f"{result.sent:,} sent again")
    for origin, number in result.skipped.items():
        print_line(to, f"{number:,} skipped: {origin} is not an input of the pipeline")


@contextmanager
def _opened(pipeline: str) -> "Iterator[tuple[Engine, Broker]]":
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import check_topics

    running = load_engine(pipeline)
    check_topics(running)
    with closing(running.open_broker()) as broker:
        yield running, broker


def _described(letter: "DeadLetter") -> dict[str, Any]:
    """Return where the letter is, why it was written and which record it holds."""
    return {
        "at": letter.place,
        "time": letter.time,
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": letter.origin,
        "partition": letter.partition,
        "offset": letter.offset,
    }


def _text(data: bytes | None) -> str | None:
    """Decode the bytes as text; None stays None, unlike an empty text."""
    return None if data is None else data.decode(errors="backslashreplace")
