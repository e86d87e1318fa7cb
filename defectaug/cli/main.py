"""The program `defectaug`: its entry point and the options before the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from defectaug import __version__
from defectaug.cli import evaluate, synthesize, train, transfer
from defectaug.cli.failures import ExitCode, Session, guard
from defectaug.cli.options import NO_VALUE, Debug, flag
from defectaug.cli.process import prepare_streams


def _completion_asked() -> bool:
    """Whether the shell asks for names to complete, or the user for the shell's script."""
    return "_DEFECTAUG_COMPLETE" in os.environ or not {"--install-completion", "--show-completion"}.isdisjoint(sys.argv)


def _epilog(*lines: str) -> str:
    """What stands at the end of a help; an empty line between two, since Typer joins the others."""
    return "\n\n".join(lines)


app = typer.Typer(
    name="defectaug",
    help="Learn defects from folders of images, and paint them on normal images.",
    epilog=_epilog(
        "Examples:",
        *(f"  {command.EXAMPLES[0]}" for command in (train, synthesize, transfer, evaluate)),
        "More: defectaug COMMAND --help. Shell completion: defectaug --install-completion",
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    # Typer's own --install-completion and root --help make it import pydantic, half of the time of a --help.
    add_completion=_completion_asked(),
    add_help_option=False,
)


class Command(TyperCommand):
    """A command whose `--help` shows no value for itself."""

    def get_help_option(self, ctx: Any) -> Any:
        found = super().get_help_option(ctx)
        if found is not None:
            found.metavar = NO_VALUE
        return found


for _module in (train, synthesize, transfer, evaluate):
    _lines = [f"  {line}" for line in _module.EXAMPLES]
    _name = _module.__name__.rpartition(".")[2]
    app.command(_name, cls=Command, epilog=_epilog("Examples:", *_lines))(getattr(_module, _name))


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
    version: Annotated[bool, flag("Print the version.", "--version", callback=_version)] = False,
    debug: Debug = False,
    show_help: Annotated[bool, flag("Show this message and exit.", "--help", "-h", callback=_help)] = False,
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
