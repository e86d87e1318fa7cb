"""How the masks that E reads from defective images fit the true ones, step by step.

    python examples/battery/masks.py MODEL TRAIN [--n 12]

TRAIN holds <product>/<class>/*, TRAIN.masks the true masks. MODEL is of the residual method (`small`, `tiny`). Of every
product and defect a row: intersection over union / recall / precision, means of N images (windows around the defect
where the product is seen in windows), of pixels where E is "sure", where the mask "goes on", and as "outlined".
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from images import Item, Mask, of, real_items

from defectaug.bundle import load_model
from defectaug.cli.failures import Session, guard
from defectaug.data.sample import Sample
from defectaug.errors import ConfigError
from defectaug.io.images import read_image, resize_float
from defectaug.methods.native import Floats, View, stack
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


@dataclass(frozen=True)
class Read:
    """What E makes of an image (S, S): how likely each pixel is the defect, and its mask step by step."""

    likely: Floats
    sure: Mask
    goes_on: Mask
    outlined: Mask


def of_this_method(folder: Path) -> InferenceModel:
    """A model whose masks can be read step by step.

    Raises:
        ConfigError: it is of another method.
    """
    model = load_model(folder)
    if not isinstance(model, InferenceModel):
        raise ConfigError(f"{folder}: reads no masks step by step; name a model of recipe small or tiny")
    return model


def window_of(one: Item, model: InferenceModel) -> tuple[View, Mask]:
    """A defective image as the model sees it, about its defect where it is seen in windows, and its true mask."""
    product, defect = one.name.split("/")
    view = reference_view(read_image(one.path), Sample(one.path, product, defect, one.mask_path), model, seed=0)
    side = model.info.image_size
    return view, resize_float(view.window.cut(one.mask).astype(np.float32), (side, side)) > 0.5


@torch.inference_mode()
def read(view: View, defect: str, model: InferenceModel) -> Read:
    """What E finds of a defect."""
    x, networks = stack([view.pixels], model), model.networks
    label = torch.tensor([model.info.defects.index(defect)], device=model.device)
    with model.compute.autocast():
        likely = torch.sigmoid(own_logits(networks.encoder(x), label))
        sure = confident(likely)
        on = continued(sure, likely)
        steps = (sure, on, outlined(x, on, likely))
    masks = [(mask[0, 0] > 0.5).cpu().numpy() for mask in steps]
    return Read(likely[0, 0].float().cpu().numpy(), *masks)


def fits(model: InferenceModel, one: Item) -> list[tuple[float, float, float]]:
    """Of each of STEPS, for one image."""
    view, true = window_of(one, model)
    found = read(view, one.name.split("/")[1], model)
    return [fit(mask, true) for mask in (found.sure, found.goes_on, found.outlined)]


def table(model_folder: Path, train: Path, count: int) -> str:
    """Markdown, a row a category.

    Raises:
        ConfigError: the model is of another method.
    """
    model, items = of_this_method(model_folder), real_items(train)
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
