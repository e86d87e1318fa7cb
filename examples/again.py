"""Make synthetic images again from their lines of the manifest, and prove which weights made them.

    python examples/again.py OUT/manifest.jsonl --model DIR [--index N ...] [--to FOLDER]

Each image is made from its line, and compared with the file that lies beside the manifest; without --index all of
them. Which of its attempts was kept, and where its defect may lie, rest on the real images of the data folder: the
model's, or --source DIR as synthesize was given it. Runs with --region DIR, --max-defects or --keep all are not made
again. A line names the sha256 of the weights: with any other bundle the command refuses. With --to the new images are
written there.
Differences of one grey level are rounding: other machines and batches add in another order.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from defectaug import load_model
from defectaug.data.sample import Sample
from defectaug.errors import BundleError, DataError, DefectaugError
from defectaug.io.images import read_image, write_png
from defectaug.io.manifest import read_lines
from defectaug.methods.base import DefectModel
from defectaug.synthesis.choose import make_plan
from defectaug.synthesis.control.regions import choose_regions
from defectaug.synthesis.plan import Item, Plan
from defectaug.synthesis.render import Rendered, Renderer
from defectaug.synthesis.settings import SynthesisSettings


def again(line: Mapping[str, Any], model: DefectModel, data: Path | None = None) -> Rendered:
    """The image of a manifest's line; ``data`` as ``--source``.

    Raises:
        BundleError: the model has other weights than the one that made the image.
        DataError: a real image, or one whose source or reference is not there any more.
    """
    if not line["synthetic"]:
        raise DataError(f"{line['file']}: is a real image, a copy of {line['source']}")
    if line["model"] != model.info.weights_sha256:
        raise BundleError(f"{line['file']}: was made by weights {line['model']}, not by {model.info.weights_sha256}")
    product, defect = line["product"], line["defect"]
    source = Sample(Path(line["source"]), product, model.info.normal)
    reference = None
    if line["reference"] is not None:
        mask = line.get("reference_mask")
        reference = Sample(Path(line["reference"]), product, defect, None if mask is None else Path(mask))
    item = Item(line["index"], product, defect, source, line["file"], line["item_seed"], reference)
    strength, size = (f"{line[name]}:{line[name]}" for name in ("strength", "size"))
    asked = SynthesisSettings(source=data, product=product, defect=defect, strength=strength, size=size)
    root, whole = make_plan(model.info, asked, _silent)
    assert root is not None  # a model that paints on images
    regions = choose_regions("auto", whole.normals, root, _silent)
    plan = Plan((item,), {product: (source,)}, {} if reference is None else {defect: (reference,)}, real=whole.real)
    with ThreadPoolExecutor(1) as pool:
        (finish,) = Renderer(model, plan, pool, control=asked.control, regions=regions, batch_size=1).render([item])
        return finish()


def _silent(line: str) -> None:
    pass


def difference(line: Mapping[str, Any], folder: Path, made: Rendered) -> int:
    """The largest difference to the file beside the manifest, in grey levels."""
    kept = read_image(folder / line["file"]).pixels.astype(np.int64)
    if kept.shape != made.image.pixels.shape:
        raise DataError(f"{folder / line['file']}: has the shape {kept.shape}, not {made.image.pixels.shape}")
    return int(np.abs(kept - made.image.pixels).max())


def main() -> None:
    """Parse, make the images again, compare; exit code 1 where one is another."""
    parser = argparse.ArgumentParser(description="Make synthetic images again from the manifest.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", type=Path, help="model folder (default: the newest under ./models)")
    parser.add_argument("--source", type=Path, help="data folder (default: the model's)")
    parser.add_argument("--index", type=int, nargs="*", help="indices of the images (default: all synthetic ones)")
    parser.add_argument("--to", type=Path, help="folder to write the new images to")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        model = load_model(options.model, device=options.device)
        wanted = options.index
        chosen = [line for line in read_lines(options.manifest) if wanted is None or line["index"] in wanted]
        differences = []
        for line in (line for line in chosen if line["synthetic"]):
            made = again(line, model, options.source)
            differences.append(difference(line, options.manifest.parent, made))
            if options.to is not None:
                write_png(options.to / line["file"], made.image)
    except DefectaugError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    same = sum(found <= 1 for found in differences)
    print(f"{same} of {len(differences)} images are the same (largest difference {max(differences, default=0)})")
    print(f"made by weights {model.info.weights_sha256}")
    raise SystemExit(0 if same == len(differences) else 1)


if __name__ == "__main__":
    main()
