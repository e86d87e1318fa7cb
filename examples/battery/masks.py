"""How the masks that E reads from defective images fit the true ones, step by step.

    python examples/battery/masks.py MODEL TRAIN [--n 12]

TRAIN holds <product>/<class>/*, TRAIN.masks the true masks. MODEL is of the residual method (`small`, `tiny`). Of every
product and defect a row: intersection over union / recall / precision, means of N images (windows around the defect
where the product is seen in windows), of pixels where E is "sure", where the mask "goes on", and as "outlined".
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from images import Item, Mask, of, real_items

from defectaug.bundle import load_model
from defectaug.cli.failures import Session, guard
from defectaug.data.sample import Sample
from defectaug.errors import ConfigError
from defectaug.io.images import read_image, resize_float
from defectaug.methods.native import stack
from defectaug.methods.outline import outlined
from defectaug.methods.residual.encoder import own_logits
from defectaug.methods.residual.inference import InferenceModel
from defectaug.methods.residual.model import confident, continued
from defectaug.synthesis.render import reference_view

STEPS = ("sure", "goes on", "outlined")


def fit(found: Mask, true: Mask) -> tuple[float, float, float]:
    """Intersection over union, recall and precision of masks (S, S)."""
    both = np.count_nonzero(found & true)
    return tuple(both / max(1, np.count_nonzero(part)) for part in (found | true, true, found))  # type: ignore[return-value]


@torch.inference_mode()
def fits(model: InferenceModel, one: Item) -> list[tuple[float, float, float]]:
    """Of each of STEPS, for one image."""
    product, defect = one.name.split("/")
    view = reference_view(read_image(one.path), Sample(one.path, product, defect, one.mask_path), model, seed=0)
    side = model.info.image_size
    true = resize_float(view.window.cut(one.mask).astype(np.float32), (side, side)) > 0.5
    x, networks = stack([view.pixels], model), model.networks
    label = torch.tensor([model.info.defects.index(defect)], device=model.device)
    with model.compute.autocast():
        likely = torch.sigmoid(own_logits(networks.encoder(x), label))
        sure = confident(likely)
        on = continued(sure, likely)
        masks = (sure, on, outlined(x, on, likely))
    return [fit((mask[0, 0] > 0.5).cpu().numpy(), true) for mask in masks]


def table(model_folder: Path, train: Path, count: int) -> str:
    """Markdown, a row a category.

    Raises:
        ConfigError: the model is of another method.
    """
    model = load_model(model_folder)
    if not isinstance(model, InferenceModel):
        raise ConfigError(f"{model_folder}: reads no masks step by step; name a model of recipe small or tiny")
    items = real_items(train)
    lines = ["| category | " + " | ".join(STEPS) + " |", "|---" * (1 + len(STEPS)) + "|"]
    for name in sorted({one.name for one in items if not one.normal}):
        found = [fits(model, one) for one in of(items, name)[:count]]
        if found:
            means = np.mean(found, axis=0)
            lines.append(f"| {name} | " + " | ".join("/".join(f"{x:.2f}" for x in step) for step in means) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("--n", type=int, default=12, help="images a category (default: 12)")
    given = parser.parse_args()
    raise SystemExit(guard(lambda: print(table(given.model, given.train, given.n)), Session(debug=False)))
