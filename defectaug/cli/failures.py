"""Exit codes, and the one place where exceptions become a line on standard error."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

import typer

from defectaug.cli.process import interrupts_heeded
from defectaug.errors import DefectaugError

# Typer up to 0.15 raises click's exceptions, later ones those of its own copy. BadParameter's ancestors are
# [BadParameter, UsageError, ClickException, ...] in both, so this needs no import of either.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

# What the machine refuses and its owner can mend: rights, space, names, drives that went away. Any other OSError
# that gets here is a defect of ours.
_MENDABLE = {
    getattr(errno, name, errno.ENOSPC)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "ENOMEM", "EACCES", "EPERM", "EROFS", "EBUSY", "EMFILE", "ENFILE"),
        *("ENAMETOOLONG", "ELOOP", "ENOTDIR", "EISDIR"),
        *("EIO", "ESTALE", "ENOTCONN", "ENODEV", "ENXIO", "ETIMEDOUT", "EHOSTDOWN", "EREMOTEIO"),
    )
}


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
        with interrupts_heeded():
            result = command()
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except (DefectaugError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _MENDABLE:
            return _ours(error, session)
        return _fail(ExitCode.USER, _os_line(error) if isinstance(error, OSError) else str(error), session)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(ExitCode.INTERRUPTED, "interrupted", session)
    except _ClickError as error:
        return _fail(ExitCode.USER, _usage_line(error), session)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python's words for one that comes while a class is made
            return _fail(ExitCode.INTERRUPTED, "interrupted", session)
        if not _is_out_of_memory(error):
            return _ours(error, session)
        advice = "a smaller run.batch_size or --image-size in training, a smaller --batch-size in synthesis needs less"
        return _fail(ExitCode.USER, f"not enough memory; {advice}", session)
    except Exception as error:  # the last resort: without it the user would see a traceback
        return _ours(error, session)
    # Without "standalone" mode an Exit (--help, --version, Ctrl-C) comes back as its code.
    if result == ExitCode.INTERRUPTED:
        return _fail(ExitCode.INTERRUPTED, "interrupted", session)
    return result if isinstance(result, int) else ExitCode.DONE


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a class of its own for it on a GPU, and none on a CPU
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)


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
    with suppress(OSError):  # where even this finds no space, the exit code is left
        print(f"error: {printable(' '.join(message.splitlines()))}", file=sys.stderr)
    return code


def printable(text: str) -> str:
    """Text without what a file's name could do to a terminal."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _os_line(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _usage_line(error: BaseException) -> str:
    message = str(getattr(error, "format_message", lambda: error)())
    context = getattr(error, "ctx", None)
    where = getattr(context, "command_path", "defectaug")
    message = " ".join(message.split())
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} '{where} --help' lists the options"
