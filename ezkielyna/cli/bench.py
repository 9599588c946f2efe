"""`ezkielyna bench`: load on any OpenAI-compatible address, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ezkielyna.cli.loads import (
    FieldsType,
    HeaderType,
    LengthType,
    LimitType,
    NumbersType,
    TimeType,
)
from ezkielyna.cli.options import Refusal, Setup, command_options, run
from ezkielyna.cli.printing import print_json
from ezkielyna.cli.reports import (
    FILES,
    first_error,
    print_comparison,
    print_report,
    progress_bar,
    rounds_of,
    write_files,
)

if TYPE_CHECKING:
    from ezkielyna.bench.plan import Load
    from ezkielyna.bench.report import Run

SECRET_OPTIONS = ("--key", "--header")


@click.command()
@click.argument("address", required=False, envvar="OPENAI_BASE_URL", metavar="[URL]")
@click.option("--model", help="The model to ask.")
@click.option(
    "--key",
    envvar=["EZ_KEY", "OPENAI_API_KEY"],
    help="Sent as bearer token; never printed, stored, or shown in a list of processes when it "
    "comes from the environment: EZ_KEY or OPENAI_API_KEY.",
)
@click.option(
    "--concurrency", "-c", type=NumbersType(whole=True), help="Closed loop: so many requests open."
)
@click.option(
    "--rate", "-r", type=NumbersType(whole=False), help="Open loop: so many requests a second."
)
@click.option("--duration", type=TimeType(), default="10s", help="The window of a step.  [10s]")
@click.option(
    "--requests", type=click.IntRange(1), help="A window of so many requests instead of a time."
)
@click.option("--warm-up", type=TimeType(), default="1s", help="Not counted, before it.  [1s]")
@click.option("--ramp", type=TimeType(), default="0s", help="Load grows so long, before that.")
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant"]),
    default="poisson",
    help="How a rate's requests are spaced.  [poisson]",
)
@click.option("--rounds", type=click.IntRange(1), default=1, help="Repeat all steps.  [1]")
@click.option("--processes", type=click.IntRange(1, 256), default=1, help="That send.  [1]")
@click.option("--seed", default="1", help="The same seed asks the same.  [1]")
@click.option(
    "--input-tokens", type=LengthType(), default="64", help="Length of made-up prompts.  [64]"
)
@click.option("--output-tokens", type=LengthType(), default="64", help="As max_tokens.  [64]")
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Ask these instead: a prompt a line, as text or as JSON with a field `prompt`.",
)
@click.option("--body", type=FieldsType(), default="{}", help="Fields laid over every request.")
@click.option(
    "--endpoint",
    type=click.Choice(["chat/completions", "completions", "embeddings"]),
    default="chat/completions",
    help="What follows the URL.  [chat/completions]",
)
@click.option("--stream/--no-stream", default=True, help="Ask for a stream.  [--stream]")
@click.option("--usage/--no-usage", default=True, help="Ask a stream for usage.  [--usage]")
@click.option(
    "--limit",
    "limits",
    type=LimitType(),
    multiple=True,
    help="A good request meets it: first_byte, first_token, gap, token (mean), total. Repeat it.",
)
@click.option("--header", "headers", type=HeaderType(), multiple=True, help="Sent; not printed.")
@click.option("--timeout", type=TimeType(), default="120s", help="Of one request.  [120s]")
@click.option(
    "--max-open",
    type=click.IntRange(1),
    default=10_000,
    help="Requests at once, of a rate.  [10000]",
)
@click.option("--ca", type=click.Path(exists=True, dir_okay=False), help="Authorities to trust.")
@click.option("--insecure", is_flag=True, help="Do not verify certificates.")
@click.option("--proxy", is_flag=True, help="Go through the proxy that the environment names.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Write {', '.join(FILES)} into this folder.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="A B",
    help="Send nothing; print how the report B differs from the report A.",
)
@command_options
def bench(
    setup: Setup,
    compare: tuple[Path, Path] | None,
    as_json: bool,
    out: Path | None,
    quiet: bool,
    rounds: int,
    key: str | None,
    headers: tuple[tuple[str, str], ...],
    **chosen: Any,
) -> None:
    """Put load on an OpenAI-compatible URL and measure what comes back.

    URL is what precedes /chat/completions, such as http://127.0.0.1:8080/v1; also
    OPENAI_BASE_URL.

    \b
    Examples:
      ezkielyna bench http://127.0.0.1:8080/v1 --model sim-gpt -c 1,8,32
      ezkielyna bench http://127.0.0.1:8080/v1 --model sim-gpt -r 10,50,100 \\
          --duration 30s --limit first_byte=200ms --limit gap=100ms --out before
      ezkielyna bench --compare before/report.json after/report.json

    A closed loop (--concurrency) sends the next request when an answer has ended; it finds out
    how much a server can do. An open loop (--rate) sends requests when they are due, whatever
    became of the others, and times them from then on; it finds out how long people wait. Several
    numbers make several steps.

    Times: first byte and first token from when the request was due; gap between two reads of a
    stream; token is the mean time from one token to the next; total is to the end. Tokens are the
    server's count where it reports usage, else events with content.
    """
    if compare is not None:
        print_comparison(*compare, as_json=as_json)
        return
    planned = _planned(**chosen)
    sent = {"Authorization": f"Bearer {key}"} if key else {}
    _perform(planned, {**sent, **dict(headers)}, rounds, quiet=quiet)
    document = planned.document()
    if out is not None:
        write_files(planned, document, out)
    if as_json:
        print_json(document)
    else:
        print_report(document, out)
    if not any(found["requests"] > found["errors"] for found in rounds_of(document)):
        raise Refusal(f"No request was answered. {first_error(document)}")


def _planned(address: str | None, model: str | None, **chosen: Any) -> Run:
    """Return the run that was asked for; raises UsageError for what cannot be one."""
    from ezkielyna.bench.plan import Limits, Target
    from ezkielyna.bench.report import Run, Step
    from ezkielyna.contract.errors import UpstreamError
    from ezkielyna.wire import target as wire

    if not address or not model:
        raise click.UsageError("Give the URL and --model, or --compare A B.")
    try:
        wire.Target.of(address)
    except UpstreamError:
        raise click.BadParameter(
            f"{address!r} is no address such as http://127.0.0.1:8080/v1"
        ) from None
    target = Target(
        url=address.rstrip("/"),
        model=model,
        endpoint=chosen["endpoint"],
        streamed=chosen["stream"] and chosen["endpoint"] != "embeddings",
        usage=chosen["usage"],
        input_tokens=chosen["input_tokens"],
        output_tokens=chosen["output_tokens"],
        prompts=_prompts(chosen["prompts"]),
        fields=chosen["body"],
        timeout_s=chosen["timeout"],
        ca_file=chosen["ca"] or "",
        verify=not chosen["insecure"],
        proxy=chosen["proxy"],
    )
    steps = [Step(load) for load in _loads(**chosen)]
    limits = Limits(**dict(chosen["limits"]))
    return Run(target, limits, chosen["seed"], chosen["processes"], shown(sys.argv[1:]), steps)


def _loads(
    concurrency: Sequence[float] | None, rate: Sequence[float] | None, **chosen: Any
) -> Iterator[Load]:
    """Yield the steps' loads, closed ones first; one of eight requests where none was named."""
    from ezkielyna.bench.plan import Load

    if not concurrency and not rate:
        concurrency = (8,)
    processes = chosen["processes"]
    if any(one < processes for one in concurrency or ()):
        raise click.UsageError("--concurrency must be at least --processes: each sends its part.")
    if (chosen["requests"] or processes) < processes:
        raise click.UsageError("--requests must be at least --processes: each sends its part.")
    if chosen["timeout"] <= 0 or chosen["duration"] <= 0:
        raise click.UsageError("--timeout and --duration must be longer than nothing.")
    rest = (chosen["duration"], chosen["requests"] or 0, chosen["warm_up"], chosen["ramp"])
    last = (chosen["arrivals"], chosen["max_open"])
    yield from (Load("closed", int(one), *rest, *last) for one in concurrency or ())
    yield from (Load("open", one, *rest, *last) for one in rate or ())


def _prompts(path: Path | None) -> tuple[str, ...]:
    """Return the prompts of a file, a line each; raises BadParameter where there is none."""
    import orjson

    if path is None:
        return ()
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            prompt = str(orjson.loads(line)["prompt"]) if line.startswith("{") else line
        except (orjson.JSONDecodeError, KeyError):
            raise click.BadParameter(
                f"{path}:{number} is no JSON object with a field `prompt`"
            ) from None
        if prompt.strip():
            found.append(prompt)
    if not found:
        raise click.BadParameter(f"{path} has no prompt")
    return tuple(found)


def shown(arguments: Sequence[str]) -> str:
    """Return the command as it was typed, without the values of options that may be secret."""
    import shlex

    told: list[str] = []
    for one in arguments:
        name, equals, _ = one.partition("=")
        if told and told[-1] in SECRET_OPTIONS:
            told.append("…")
        else:
            told.append(f"{name}=…" if equals and name in SECRET_OPTIONS else shlex.quote(one))
    return " ".join(["ezkielyna", *told])


def _perform(planned: Run, headers: dict[str, str], rounds: int, *, quiet: bool) -> None:
    from ezkielyna.bench.running import perform

    with progress_bar(planned, rounds, quiet=quiet) as progress:
        run(perform(planned, headers, rounds, progress))
