"""Commands, and scripts of the examples, in this process."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest

from defectaug.cli.main import main

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]


def run_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """A command in this process: exit code, standard output, standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0), *capsys.readouterr()


def run_example(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A script of `examples` as the main program, in this process: imports of torch are paid once."""
    path, code = ROOT / "examples" / script, 0
    command = [str(path), *map(str, arguments)]
    with (
        patch.object(sys, "argv", command),
        patch.object(sys, "path", [str(path.parent), *sys.path]),
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
    ):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
            err.write(left.code if isinstance(left.code, str) else "")
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
