"""Exit codes, and the one place where exceptions become a line on standard error."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import typer

from defectaug.errors import DefectaugError

# Typer up to 0.15 raises click's exceptions, later ones those of its own copy. BadParameter's ancestors are
# [BadParameter, UsageError, ClickException, ...] in both, so this needs no import of either.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

# What the machine refuses and its owner can mend; any other OSError that gets here is a defect of ours.
_MENDABLE = {errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT}


class ExitCode(IntEnum):
    """What the shell sees."""

    DONE = 0
    OURS = 1
    USER = 2
    INTERRUPTED = 130


@dataclass
class Session:
    """What the options that every command has (`--debug`) set for this call of the program."""

    debug: bool = False


def guard(command: Callable[[], object], session: Session) -> int:
    """Run `command` and return the exit code; every exception becomes one line on standard error."""
    try:
        result = command()
    except (DefectaugError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _MENDABLE:
            return _ours(error, session)
        return _fail(ExitCode.USER, _os_line(error) if isinstance(error, OSError) else str(error), session)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(ExitCode.INTERRUPTED, "interrupted", session)
    except _ClickError as error:
        return _fail(ExitCode.USER, _usage_line(error), session)
    except Exception as error:  # the last resort: without it the user would see a traceback
        return _ours(error, session)
    # Without "standalone" mode an Exit (--help, --version, Ctrl-C) comes back as its code.
    if result == ExitCode.INTERRUPTED:
        return _fail(ExitCode.INTERRUPTED, "interrupted", session)
    return result if isinstance(result, int) else ExitCode.DONE


def _ours(error: Exception, session: Session) -> int:
    hint = "" if session.debug else "; --debug shows the traceback"
    return _fail(
        ExitCode.OURS,
        f"{type(error).__name__}: {error} (this is a defect of defectaug, not of your input{hint})",
        session,
    )


def _fail(code: ExitCode, message: str, session: Session) -> int:
    if session.debug:
        traceback.print_exc()
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _os_line(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _usage_line(error: BaseException) -> str:
    message = str(getattr(error, "format_message", lambda: error)())
    context = getattr(error, "ctx", None)
    where = getattr(context, "command_path", "defectaug")
    message = " ".join(message.split())
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} '{where} --help' lists the options"
