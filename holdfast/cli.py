"""The command line: what an operator types, and what it answers when it cannot be done."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.messages.errors import ConfigError
from engine.settings import load

app = typer.Typer(
    help="Holdfast answers the phone, and it does not drop the call.", no_args_is_help=True, add_completion=False
)
config = typer.Typer(help="What an operator may set.", no_args_is_help=True)
app.add_typer(config, name="config")

DEFAULT_CONFIG = Path("config/engine.toml")


@config.command("check")
def check_config(
    file: Annotated[Path, typer.Argument(help="The engine's file, which says where the tenants are.")] = (
        DEFAULT_CONFIG
    ),
) -> None:
    """Read a configuration and its tenants as the server would, and name every mistake."""
    _, tenants = load(file)
    names = ", ".join(tenant.name for tenant in tenants.tenants)
    typer.echo(f"{file}: OK, answering for {names}")


def main() -> None:
    """Run the command. Exits 2 for what only the operator can mend."""
    try:
        app()
    except ConfigError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
