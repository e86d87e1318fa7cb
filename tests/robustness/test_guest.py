"""The package as a guest: in another program's process, and on systems that lack what Unix has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from small_networks import SMALL

HERE = Path(__file__).parent


def run(folder: Path, what: str) -> str:
    """Lets `guest.py` do it; returns its standard output."""
    run = {"batch_size": 4, "validate_every": 2}
    (folder / "settings.yaml").write_text(yaml.safe_dump(SMALL | {"run": run, "data": {"min_images": 1}}))
    path = os.pathsep.join([str(HERE.parent / "helpers"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / "guest.py"), str(folder), what],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "HOME": str(folder / "home")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "model/model.safetensors").is_file() and (folder / "numbers.json").is_file()
    assert len(list((folder / "new/A/scratch").glob("*.png"))) == 2
    assert not list(folder.rglob("*.lock"))
    return done.stdout


def test_the_functions_leave_the_process_as_it_was(tmp_path: Path) -> None:
    assert json.loads(run(tmp_path, "functions").splitlines()[-1]) == []


def test_the_commands_run_where_resource_fcntl_and_open_folders_are_missing(tmp_path: Path) -> None:
    assert "memory not known on this system" in run(tmp_path, "commands")
    assert len(list((tmp_path / "many").glob("*.png"))) == 5
