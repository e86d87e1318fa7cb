"""The commands of examples/walkthrough.md, in order, on few images and with few steps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# `defectaug COMMAND` goes on with the flags in COMMAND_FLAGS, which keep it short.
SHORTER = f"""
set -e
python() {{ "{sys.executable}" "$@"; }}
defectaug() {{ local flags=$1_FLAGS; python -m defectaug "$@" ${{!flags}}; }}
"""
FLAGS = {"train_FLAGS": "--steps 2", "evaluate_FLAGS": "--seeds 1"}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="its commands are those of a POSIX shell")
def test_the_walk_can_be_walked(tmp_path: Path) -> None:
    for folder in (EXAMPLES / "demo" / "data").glob("[AB]/*"):
        for file in sorted(folder.glob("*.png"))[: 10 if folder.name == "normal" else 7]:
            target = tmp_path / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    shutil.copy(EXAMPLES / "training_loop.py", tmp_path / "examples")
    blocks = re.findall(r"^```\n(.*?)^```$", (EXAMPLES / "walkthrough.md").read_text("utf-8"), re.M | re.S)
    done = subprocess.run(
        ["bash", "-c", SHORTER + "".join(blocks)], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | FLAGS | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    walk = tmp_path / "walk"
    pages = "page.html", "report.html", "final.html", "final_report.html"
    for left in ("models/data/samples", "augmented.masks", "models/final", *pages):
        assert (walk / left).exists(), left
    assert "real images named right" in done.stdout
