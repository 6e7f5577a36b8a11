"""`holdfast policy`: what policies come to, tried out."""

from pathlib import Path
from typing import Annotated, Final

import typer

app = typer.Typer(help="What policies come to, tried out.", no_args_is_help=True)

_OUTAGE_HELP: Final = (
    "Who fails, and when; may be given more than once. VENDOR:AT+LENGTH: AT after the first call opened, the vendor "
    "breaks off all its connections and lets nobody in for LENGTH; 'ever' is for good. VENDOR:LENGTH:everyN: each Nth "
    "connection to the vendor, of all calls, breaks off when it has lasted LENGTH; a request to a model is a "
    "connection. Times as 500ms, 3s, 2m."
)


@app.callback()
def _policy() -> None:
    """What policies come to, tried out."""


@app.command()
def simulate(  # noqa: PLR0913 - a command's options
    *,
    outage: Annotated[list[str], typer.Option(metavar="TROUBLE", help=_OUTAGE_HELP)],
    policy: Annotated[Path, typer.Option(help="The engine's file that is tried.")] = Path("config/engine.toml"),
    against: Annotated[Path | None, typer.Option(help="Another, to be compared with it.")] = None,
    calls: Annotated[int, typer.Option(min=1, max=200, help="How many callers there are.")] = 3,
    apart: Annotated[
        float, typer.Option(min=0.0, max=3600.0, help="Seconds from one's call to the next one's; 0: all at once.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="What waits are drawn from: the same seed, the same calls.")] = 0,
    tenant: Annotated[
        str, typer.Option(help="Whose callers: a tenant's id; else of one whose file says nothing.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for machines.")] = False,
) -> None:
    """Play whole calls on a virtual clock while vendors fail, and tell what their callers live through."""
    # The engine and its simulators take most of a second to import, which no other verb is to wait for.
    from holdfast import simulate as simulating  # noqa: PLC0415

    asked = simulating.Asked(
        outages=outage,
        policy=policy,
        against=against,
        calls=calls,
        apart_s=apart,
        seed=seed,
        tenant=tenant,
        as_json=as_json,
    )
    typer.echo(simulating.simulate(asked))
