"""What becomes of the background's detail: the network's plain output, or the change it makes added to the source?

    python examples/judge/native_detail.py DATA --defect scratch [--model DIR] [--n 30]

For normal images of DATA at their own size, which should be larger than the model's: the plain output is enlarged to
it; the other way, which defectaug takes, enlarges only the difference that the defect makes. Told of both, where
nothing was painted: mean change in grey levels, and the share of the source's high-frequency energy that is left.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from folders import print_table, write_json
from numpy.typing import NDArray

from defectaug import load_model
from defectaug.data.index import index_folder
from defectaug.errors import DefectaugError
from defectaug.io.images import NativeImage, as_channels, read_image, resize_float, to_model
from defectaug.methods.base import DefectModel
from defectaug.methods.native import compose, native_change

Floats = NDArray[np.float64]


def outputs(native: NativeImage, model: DefectModel, defect: int, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """The source, the plain and the added output, all (H, W) in grey levels, and where nothing was painted."""
    info, size = model.info, native.pixels.shape[:2]
    view = to_model(native.pixels, info.image_size, info.channels, native.white)
    codes = model.latent_codes(torch.tensor([defect]), [seed])
    made = model.paint(torch.from_numpy(view)[None], codes)
    change = native_change(made.delta[0].cpu().numpy(), size, 1)
    small = (made.image[0].cpu().numpy().mean(0) + 1) / 2 * native.white
    plain = resize_float(small[..., None].astype(np.float32), size)[..., 0]
    added = compose(native, change if native.pixels.ndim == 2 else change[..., None], native.white).pixels
    source, kept = (as_channels(pixels, 1)[..., 0].astype(float) for pixels in (native.pixels, added))
    return source, plain.astype(float), kept, change == 0


def high_frequencies(image: Floats) -> Floats:
    """What a Laplacian leaves of an image (H, W), one pixel less on every side."""
    middle = image[1:-1, 1:-1]
    return 4 * middle - image[:-2, 1:-1] - image[2:, 1:-1] - image[1:-1, :-2] - image[1:-1, 2:]


def compared(source: Floats, output: Floats, where: Floats) -> tuple[float, float]:
    """Mean change in grey levels, and share of the high-frequency energy, over the given pixels."""
    inside = where[1:-1, 1:-1]
    ours, theirs = (np.square(high_frequencies(image))[inside].sum() for image in (output, source))
    return float(np.abs(output - source)[where].mean()), float(ours / max(theirs, 1e-9))


def main() -> None:
    """Parse, compare image after image, print means and deviations."""
    parser = argparse.ArgumentParser(description="Compare plain output with the added difference.")
    parser.add_argument("data", type=Path, help="folder <product>/<class>/*, images larger than the model's")
    parser.add_argument("--defect", required=True)
    parser.add_argument("--model", type=Path, help="model folder (default: the newest under ./models)")
    parser.add_argument("--n", type=int, default=30, help="images a product (default: 30)")
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()
    try:
        model, index = load_model(options.model), index_folder(options.data)
        if options.defect not in model.info.defects:
            raise SystemExit(f"--defect {options.defect}: the model knows {', '.join(model.info.defects[1:])}")
        defect = model.info.defects.index(options.defect)
        rows: dict[str, dict[str, float | int | None]] = {}
        for product in index.products:
            normal = [s for s in index.samples if s.product == product and s.defect == index.normal][: options.n]
            found = [outputs(read_image(s.path), model, defect, seed) for seed, s in enumerate(normal)]
            for name, place in (("plain", 1), ("added", 2)):
                numbers = np.array([compared(f[0], f[place], f[3]) for f in found])
                rows[f"{product} {name}"] = {
                    "change": numbers[:, 0].mean(),
                    "change deviation": numbers[:, 0].std(),
                    "energy kept": numbers[:, 1].mean(),
                    "energy deviation": numbers[:, 1].std(),
                }
    except DefectaugError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    print_table(rows)
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
