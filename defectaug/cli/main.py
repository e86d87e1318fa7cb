"""The program `defectaug`: its entry point and the options before the command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from defectaug import __version__
from defectaug.cli.evaluate import evaluate
from defectaug.cli.failures import ExitCode, Session, guard
from defectaug.cli.options import Debug, option
from defectaug.cli.process import prepare_streams
from defectaug.cli.synthesize import synthesize
from defectaug.cli.train import train
from defectaug.cli.transfer import transfer

app = typer.Typer(
    name="defectaug",
    help="Learn defects from folders of images, and paint them on normal images.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    # Typer's own --install-completion and root --help make it import pydantic, half of the time of a --help.
    add_completion=False,
    add_help_option=False,
)
app.command("train")(train)
app.command("synthesize")(synthesize)
app.command("transfer")(transfer)
app.command("evaluate")(evaluate)


def _version(context: typer.Context, value: bool) -> None:
    if value:
        print(f"defectaug {__version__}")
        raise typer.Exit


def _help(context: typer.Context, value: bool) -> None:
    if value:
        print(context.get_help())
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, option("Print the version.", "--version", callback=_version)] = False,
    debug: Debug = False,
    show_help: Annotated[bool, option("Show this message and exit.", "--help", "-h", callback=_help)] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(ExitCode.USER)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code (0 done, 2 user, 130 interrupted, 1 ours)."""
    session = Session()
    prepare_streams()
    args = None if arguments is None else list(arguments)
    code = guard(lambda: app(args=args, prog_name="defectaug", standalone_mode=False, obj=session), session)
    sys.exit(code)


if __name__ == "__main__":
    main()
