"""The command line: what an operator types, and what it answers when it cannot be done."""

import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import attrs
import trio
import typer
from rich.console import Console

from engine.messages.errors import ConfigError
from engine.providers.local.plot import read_script
from engine.settings import Configuration, Settings, Tenants, load, read
from engine.storage.moments import utc_now
from engine.storage.store import Store
from engine.supervisor import leaf
from holdfast import explain, logs, policy, usage
from holdfast.keys import ADMIN_TOKEN, Keys, read_keys
from simulators import scenario as scenarios
from simulators.caller import CallerScript, Play, Say, conversation
from simulators.noise import NoisePolicy
from simulators.twilio.call import NoServerError

T = TypeVar("T")

# MODELS: verbs that speak or hear import what they need when they run. Speech takes a second to import, and the extra
# `local` may be absent; `config check` needs neither.

app = typer.Typer(
    help="Holdfast answers the phone, and it does not drop the call.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config = typer.Typer(help="What an operator may set.", no_args_is_help=True)
app.add_typer(config, name="config")
app.add_typer(policy.app, name="policy")

DEFAULT_CONFIG = Path("config/engine.toml")


@config.command("check")
def check_config(
    file: Annotated[Path, typer.Argument(help="The engine's file, which says where the tenants are.")] = (
        DEFAULT_CONFIG
    ),
) -> None:
    """Read a configuration, its tenants and its keys as the server would, and name every mistake."""
    configuration, _ = checked(file)
    for note in configuration.notes:
        typer.echo(note)
    names = ", ".join(tenant.name for tenant in configuration.tenants.tenants)
    typer.echo(f"{file}: OK, answering for {names}")


@config.command("explain")
def explain_config(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(explain.NAMES)}; all of them in short.")] = "",
    vendor: Annotated[str, typer.Option(help="Of the vendors that serve the actor, this one.")] = "",
    tenant: Annotated[str, typer.Option(help="A tenant's id; else what holds where its file says nothing.")] = "",
    file: Annotated[Path, typer.Option("--config", help="The engine's file.")] = DEFAULT_CONFIG,
) -> None:
    """Say what a policy does at each failure: when it tries again, when it gives up, who is next, what is heard."""
    explain.explain(read(file), Console(), name=name, vendor=vendor, tenant=tenant)


Config = Annotated[Path, typer.Option("--config", help="The engine's file, which says where the tenants are.")]


@app.command()
def serve(  # noqa: PLR0913 - a server's options
    config: Config = DEFAULT_CONFIG,
    bind: Annotated[
        str, typer.Option(help="HOST:PORT to listen on; port 0 takes any that is free.")
    ] = "127.0.0.1:8080",
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Try every key, address, voice and model, say what is wrong, and end.")
    ] = False,
    debug_audio: Annotated[
        bool, typer.Option("--debug-audio", help="Keep each call's audio in var/debug/. It holds what callers said.")
    ] = False,
    debug_wire: Annotated[
        bool,
        typer.Option("--debug-wire", help="Keep each call's messages there, of the line, the vendors, the actors."),
    ] = False,
    allow_faults: Annotated[
        bool, typer.Option("--allow-faults", help="Let calls be made to fail, by 'holdfast call --faults'. For tests.")
    ] = False,
) -> None:
    """Answer the phone."""
    from holdfast import serve as serving  # noqa: PLC0415 - see MODELS

    configuration, keys = checked(config)
    settings, tenants = configuration.settings, configuration.tenants
    logs.configure(settings.log, secrets=keys.secrets)
    progress = partial(typer.echo, err=True)
    if check:
        _run(partial(serving.check, settings, tenants, keys, bind=bind, progress=progress))
        typer.echo(f"{config}: OK, every vendor answers")
        return
    debug = serving.Debug(audio=debug_audio, wire=debug_wire)

    async def work(stop: serving.Stop) -> None:
        await serving.serve(
            settings,
            tenants,
            bind=bind,
            progress=progress,
            keys=keys,
            stop=stop,
            debug=debug,
            allow_faults=allow_faults,
            file=config,
        )

    _run(partial(serving.until_told, work))


@app.command()
def call(  # noqa: PLR0913, PLR0917 - a call's options
    say: Annotated[list[str] | None, typer.Option(help="Something the caller says; once for each turn.")] = None,
    wav: Annotated[
        list[Path] | None, typer.Option(help="A recording that the caller plays, after what is said.")
    ] = None,
    scenario: Annotated[str | None, typer.Option(help=f"A file, or one of {', '.join(scenarios.shipped())}.")] = None,
    barge_in_at: Annotated[
        float | None, typer.Option(help="Seconds into the agent's words at which the last turn breaks in.")
    ] = None,
    server: Annotated[str, typer.Option(help="Where the server is.")] = "http://127.0.0.1:8080",
    to: Annotated[str | None, typer.Option(help="The number that is dialled.")] = None,
    caller: Annotated[str | None, typer.Option("--from", help="The caller's own number.")] = None,
    noise_db: Annotated[float | None, typer.Option(help="Line noise, as a signal-to-noise ratio.")] = None,
    faults: Annotated[
        Path | None, typer.Option(help="A file that says who calls, what fails, and what is expected: docs/faults.md.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the recording and its details go.")] = Path("var/calls"),
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Make a simulated call to a running server, and keep its recording, transcript and timings."""
    with _speech():
        from holdfast import call as calling  # noqa: PLC0415 - see MODELS
        from simulators import trial as trials  # noqa: PLC0415 - see MODELS

    trial = None if faults is None else trials.load(faults)
    if trial is not None and (say or wav or scenario or barge_in_at is not None):
        raise ConfigError(
            "--faults says all that the caller says: leave out --say, --wav, --scenario and --barge-in-at"
        )
    script = _script(say or [], wav or [], scenario, barge_in_at) if trial is None else calling.caller_of(trial)
    script = attrs.evolve(
        script,
        dialled_number=to or script.dialled_number,
        caller_number=caller or script.caller_number,
        noise=script.noise if noise_db is None else NoisePolicy(snr_db=noise_db),
    )
    settings, _ = load(config)
    logs.configure(settings.log)
    console = Console()
    store = calling.open_store(settings.storage.url)
    # As the server that runs with the same environment wants it.
    token = os.environ.get(settings.vendors.twilio.auth_token_env, "").strip() or None
    place = partial(calling.call, script, server_url=server, store=store, folder=out, console=console, auth_token=token)
    if trial is not None:
        place = partial(calling.call_with_faults, trial, place, server_url=server, token=os.environ.get(ADMIN_TOKEN))
    kept = _run(place)
    calling.waterfall(kept, console)
    wrong = None if trial is None else calling.judged(trial, kept, console)
    console.print(f"recording: {kept.wav} (left the caller, right the agent); details: {kept.json}", highlight=False)
    if wrong:
        raise typer.Exit(1)


@app.command()
def demo(
    scenario: Annotated[str, typer.Option(help="A file, or the name of a shipped scenario.")] = "book_appointment",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Serve with the embedded default, call once, book an appointment, and show the row."""
    with _speech():
        from holdfast import demo as demonstration  # noqa: PLC0415 - see MODELS

    settings, tenants = load(config)
    logs.configure(attrs.evolve(settings.log, level="warning"))
    _run(partial(demonstration.demo, settings, tenants, script=scenario, console=Console()))


@app.command("usage")
def report_usage(
    config: Config = DEFAULT_CONFIG,
    days: Annotated[float, typer.Option(min=0, max=36500, help="How many days back.")] = 30.0,
) -> None:
    """Say what models cost in tokens, by tenant and vendor: for answers, and in vain."""
    configuration = read(config)
    with Store.open(configuration.settings.storage.url) as store:
        usage.report(store, configuration.tenants.tenants, Console(), until=utc_now(), days=days)


def checked(file: Path) -> tuple[Configuration, Keys]:
    """Read all that a server is made of, as far as it can be told without a vendor. Raises ConfigError."""
    configuration = read(file)
    check_scripts(configuration.settings, configuration.tenants)
    sources = configuration.sources
    return configuration, read_keys(configuration.settings, tenants=configuration.tenants, sources=sources)


def check_scripts(settings: Settings, tenants: Tenants) -> None:
    """Read each tenant's script as the scripted agent would, also one that is wanted and not there.

    Raises ConfigError with every mistake.
    """
    lines: list[str] = []
    for tenant in tenants.tenants:
        if tenant.script or "local" in settings.vendors_of(tenant, "llm"):
            try:
                read_script(tenant.script)
            except ConfigError as error:
                lines += [f"{tenant.id}: {line}" for line in str(error).splitlines()]
    if lines:
        raise ConfigError("\n".join(lines))


def _script(say: list[str], wav: list[Path], scenario: str | None, barge_in_at: float | None) -> CallerScript:
    """Return what the caller does. Raises ConfigError for nothing to do, and for two things at once."""
    if scenario is not None:
        if say or wav or barge_in_at is not None:
            raise ConfigError("--scenario says all that the caller does: leave out --say, --wav and --barge-in-at")
        return scenarios.load(scenario)
    turns: tuple[Say | Play, ...] = (*(Say(text=text) for text in say), *(Play(file=file) for file in wav))
    if not turns:
        raise ConfigError("nothing to say: give --say TEXT, --wav FILE or --scenario FILE")
    return CallerScript(steps=conversation(turns, barge_in_at_s=barge_in_at))


@contextlib.contextmanager
def _speech() -> Iterator[None]:
    """Raise ConfigError where what is imported needs the extra `local`, and that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this needs {error.name!r}, which is not installed: pip install 'holdfast[local]'"
        ) from error


def _run(work: Callable[[], Awaitable[T]]) -> T:
    """Run in trio, and raise what the operator must mend, or a Ctrl-C, by itself, whatever group it came in."""
    found: BaseException
    try:
        return trio.run(work)
    except* (ConfigError, KeyboardInterrupt) as group:
        found = leaf(group)  # raised below: what is raised in here comes out in a group of its own
    raise found


def main() -> None:
    """Run the command. Exits 2 for what only the operator can mend, 1 where there is no server to call."""
    try:
        app()
    except NoServerError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
