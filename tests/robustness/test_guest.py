"""The package as a guest: in another program's process, and on systems that lack what Unix has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import forked
import guest
import pytest
import yaml
from small_networks import SMALL

HERE = Path(__file__).parent


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with settings."""
    run = {"batch_size": 4, "validate_every": 2}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(SMALL | {"run": run, "data": {"min_images": 1}}))
    return tmp_path


def check_left(place: Path) -> None:
    """All has come, and nothing else."""
    assert (place / "model/model.safetensors").is_file() and (place / "numbers.json").is_file()
    assert len(list((place / "new/A/scratch").glob("*.png"))) == 2
    assert not list(place.rglob("*.lock"))


def test_the_functions_leave_the_process_as_it_was(place: Path) -> None:
    child = forked.start(place, guest.as_a_guest, place, HOME=str(place / "home"))
    printed, said = child.communicate()
    assert child.returncode == 0, said[-3000:]
    check_left(place)
    assert json.loads(printed.splitlines()[-1]) == []


@pytest.mark.slow
def test_nor_do_they_change_a_new_one_with_all_that_they_import(place: Path) -> None:
    path = os.pathsep.join([str(HERE.parent / "helpers"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / "guest.py"), str(place)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "HOME": str(place / "home")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    check_left(place)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_commands_run_where_resource_fcntl_and_open_folders_are_missing(place: Path) -> None:
    child = forked.start(place, guest.as_on_windows, place, HOME=str(place / "home"))
    printed, said = child.communicate()
    assert child.returncode == 0, said[-3000:]
    check_left(place)
    assert "memory not known on this system" in printed
    assert len(list((place / "many").glob("*.png"))) == 5
