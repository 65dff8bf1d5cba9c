"""`driftline dead-letters`: lists what could not be used, shows it, and sends it again."""

import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any

import typer

from flows.cli.options import JsonOption, PipelineOption, print_json
from flows.core.stream.broker import Broker
from flows.core.stream.dead_letter import DeadLetter
from flows.errors import ConfigError
from flows.host.tables import console, print_line, print_table
from flows.jobs.dead_letters import Wanted, check, inputs_of, letter_at, letters, replay
from flows.pipeline import Pipeline
from flows.runtime.engine import load_engine
from flows.runtime.runner import check_topics

dead_letters = typer.Typer(no_args_is_help=True, help="See what could not be used, and send it again.")

ReasonOption = Annotated[str, typer.Option(help="Only those of this reason, such as schema.")]
TopicOption = Annotated[str, typer.Option(help="Only those that came from this topic.")]


@dead_letters.command(
    "list", epilog="Examples: driftline dead-letters list · driftline dead-letters list --reason late -n 5"
)
def list_letters(
    reason: ReasonOption = "",
    topic: TopicOption = "",
    newest: Annotated[int, typer.Option("-n", min=1, help="The newest so many; the counts are of all.")] = 20,
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Count the dead letters by reason and topic, and list the newest."""
    wanted = Wanted(reason, topic)
    check(wanted)
    with _opened(pipeline) as (declared, broker):
        counts: Counter[tuple[str, str]] = Counter()
        last: deque[DeadLetter] = deque(maxlen=newest)
        for letter in letters(declared, broker, wanted):
            counts[letter.reason, letter.origin] += 1
            last.append(letter)
    if as_json:
        counted = [{"reason": r, "topic": t, "letters": n} for (r, t), n in sorted(counts.items())]
        print_json({"counts": counted, "newest": [_said(letter) for letter in last]})
        return
    to = console()
    print_table(to, ("reason", "topic", "letters"), [(*key, n) for key, n in sorted(counts.items())])
    print_table(to, ("at", "time", "reason", "record", "detail"), [_row(letter) for letter in last])


def _row(letter: DeadLetter) -> tuple[str, ...]:
    record = f"{letter.origin}/{letter.partition}/{letter.offset}"
    return (letter.place, letter.time, letter.reason, record, letter.detail)


@dead_letters.command(
    "show",
    epilog="Examples: driftline dead-letters show 0/17 · driftline dead-letters show 0/17 --raw > record.bin",
)
def show_letter(
    at: Annotated[str, typer.Argument(help="Where the dead letter stands: PARTITION/OFFSET.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the record's own bytes, and nothing else.")
    ] = False,
    pipeline: PipelineOption = "",
) -> None:
    """Print one dead letter: why, where it came from, its headers, its key and its value."""
    if raw and sys.stdout.isatty():
        raise ConfigError("--raw writes bytes, which a terminal may obey; add `> FILE`, or leave --raw out")
    with _opened(pipeline) as (declared, broker):
        letter = letter_at(declared, broker, at)
    if raw:
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.flush()
        return
    headers = {name: _text(value) for name, value in letter.headers}
    key, value = _text(letter.key), _text(letter.value)
    print_json(_said(letter) | {"headers": headers, "key": key, "value": value})


@dead_letters.command(
    "replay",
    epilog="Examples: driftline dead-letters replay 0/17 0/18 · driftline dead-letters replay --reason model",
)
def replay_letters(
    at: Annotated[list[str] | None, typer.Argument(help="Where they stand: PARTITION/OFFSET.")] = None,
    reason: ReasonOption = "",
    topic: TopicOption = "",
    pipeline: PipelineOption = "",
) -> None:
    """Send dead letters to the topic they came from, byte for byte, once their cause is mended.

    What cannot be used now either becomes a new dead letter. A record counts once, however often its dead
    letter is sent. Alerts are sent again by `driftline webhooks replay`.
    """
    wanted = Wanted(reason, topic, at or ())
    if wanted == Wanted():
        raise ConfigError("say which: PARTITION/OFFSET of some, --reason or --topic")
    with _opened(pipeline) as (declared, broker):
        inputs = inputs_of(declared)
        check(wanted, inputs)
        chosen = [letter_at(declared, broker, place) for place in at or ()]
        result = replay(broker, filter(wanted.fits, chosen or letters(declared, broker, wanted)), inputs)
    to = console()
    print_line(to, f"{result.sent:,} sent again")
    for origin, number in result.left_out.items():
        print_line(to, f"{number:,} left alone: {origin} is no input of the pipeline")


@contextmanager
def _opened(pipeline: str) -> Iterator[tuple[Pipeline, Broker]]:
    running = load_engine(pipeline)
    check_topics(running)
    with closing(running.open_broker()) as broker:
        yield running.pipeline, broker


def _said(letter: DeadLetter) -> dict[str, Any]:
    """What the engine says of it, without what is the record's own."""
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
    """The bytes as text; null stays null, which is not empty."""
    return None if data is None else data.decode(errors="backslashreplace")
