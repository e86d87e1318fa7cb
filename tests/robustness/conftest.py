"""The helpers of the other tests serve here, too; with `--cov` the report tells which error lines were reached."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
sys.path.append(str(HERE.parents[1] / "helpers"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Adds the lines of the package that raise an error and that no test has reached."""
    plugin = config.pluginmanager.getplugin("_cov")
    if plugin is None or plugin.cov_controller is None:
        return
    from raises import reached

    package = HERE.parents[2] / "defectaug"
    seen, unseen = reached(package, plugin.cov_controller.cov.get_data())
    terminalreporter.section("error paths")
    every = len(seen) + len(unseen)
    terminalreporter.line(f"{len(seen)} of {every} lines that raise an error were reached; not these:")
    for path, number, text in unseen:
        terminalreporter.line(f"{path.relative_to(package.parent)}:{number}: {text}")
