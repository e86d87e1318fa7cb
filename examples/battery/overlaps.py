"""How the masks of transfers fit their references' true ones.

    python examples/battery/overlaps.py MODEL SET [--n 20]

SET/test holds <product>/<class>/*, SET/test.masks the true masks. Of every product and defect a row: N defects, each on
a normal image of `test`; mean intersection over union of the mask that is written and the true one (its best place
where images are seen in windows), and the median of its area as a share of the true one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from images import real_items
from make import transferred
from measures import overlap

from defectaug.bundle import load_model
from defectaug.cli.failures import Session, guard


def table(model_folder: Path, data: Path, count: int) -> str:
    """Markdown, a row a category."""
    model, items = load_model(model_folder), real_items(data / "test")
    lines = ["| category | overlap | area | defects |", "|---|---|---|---|"]
    for name in sorted({one.name for one in items if not one.normal and one.mask_path}):
        with tempfile.TemporaryDirectory() as out:
            moved = transferred(model, name, items, Path(out), count)
            fits = [overlap(one, model.info, name) for one in moved]
            areas = [one.made.mask.mean() / max(one.reference.mask.mean(), 1e-9) for one in moved]
        if fits:
            lines.append(f"| {name} | {np.mean(fits):.2f} | {np.median(areas):.2f} | {len(fits)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--n", type=int, default=20, help="defects a category (default: 20)")
    given = parser.parse_args()
    raise SystemExit(guard(lambda: print(table(given.model, given.data, given.n)), Session(debug=False)))
