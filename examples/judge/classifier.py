"""A small classifier with two heads, defect and product: the judge of synthetic images.

It shares nothing with the package's networks, and learns from plenty of separately generated real images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from folders import read_grey
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F


class Classifier(nn.Module):
    """Four convolution blocks, global mean and maximum, a linear layer for each head."""

    def __init__(self, defects: list[str], products: list[str], width: int = 12) -> None:
        super().__init__()
        self.defects, self.products, self.width = defects, products, width
        widths = [1, width, 2 * width, 4 * width, 6 * width, 8 * width]
        blocks: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            stride = 2 if index == 0 else 1
            blocks += [
                nn.Conv2d(
                    inputs, outputs, 5 if index == 0 else 3, stride, 2 if index == 0 else 1, bias=False
                ),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
            blocks += [nn.MaxPool2d(2)] if index in (1, 2, 3) else []
        self.features = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(0.2)
        self.defect_head = nn.Linear(2 * widths[-1], len(defects))
        self.product_head = nn.Linear(2 * widths[-1], len(products))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (defect, product) of images [B, 1, H, W], 0 black, 1 white."""
        mean = images.mean((2, 3), keepdim=True)
        deviation = images.std((2, 3), keepdim=True)
        maps = self.features((images - mean) / (deviation + 0.02))
        pooled = self.dropout(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))
        return self.defect_head(pooled), self.product_head(pooled)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flips, gain, offset, a little blur and noise, so that defects count and a renderer's traces do not."""
    count = len(images)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand((count, 1, 1, 1), generator=generator)

    images = torch.where(draw(0, 1) < 0.5, images.flip(3), images)
    images = torch.where(draw(0, 1) < 0.5, images.flip(2), images)
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="reflect"), 3, 1)
    images = torch.lerp(images, blurred, draw(-0.3, 0.7).clamp(min=0))
    images = images * draw(0.85, 1.15) + draw(-0.06, 0.06)
    images = images + draw(0, 0.02) * torch.randn(images.shape, generator=generator)
    return images.clamp(0, 1)


def fit(
    model: Classifier,
    images: Tensor,
    labels: tuple[Tensor, Tensor],
    *,
    epochs: int,
    batch: int = 32,
    rate: float = 3e-3,
    seed: int = 0,
    balanced: bool = False,
) -> Iterator[float]:
    """Train in place on images [N, 1, H, W] (uint8), labels (defect, product) [N]; yields each epoch's loss.

    With `balanced`, every product x defect is drawn equally often, however few images it has.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = -(-len(images) // batch)
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * steps, pct_start=0.2)
    cell = labels[0] * len(model.products) + labels[1]
    weights = 1.0 / torch.bincount(cell)[cell].float() if balanced else torch.ones(len(images))
    for _ in range(epochs):
        model.train()
        if balanced:
            order = torch.multinomial(weights, steps * batch, replacement=True, generator=generator)
        else:
            order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for chosen in order.split(batch):
            if len(chosen) < 2:  # batch norm needs two
                continue
            defect, product = model(augment(images[chosen].float() / 255, generator))
            loss = F.cross_entropy(defect, labels[0][chosen], label_smoothing=0.02)
            loss = loss + 0.3 * F.cross_entropy(product, labels[1][chosen], label_smoothing=0.02)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        yield total / steps


@torch.inference_mode()
def predict(model: Classifier, images: Tensor, batch: int = 128) -> tuple[Tensor, Tensor]:
    """The named (defect, product) class indices [N] of images [N, 1, H, W] (uint8)."""
    model.eval()
    logits = [model(chunk.float() / 255) for chunk in images.split(batch)]
    return (
        torch.cat([defect.argmax(1) for defect, _ in logits]),
        torch.cat([product.argmax(1) for _, product in logits]),
    )


def stack(files: list[Path]) -> Tensor:
    """Image files as one batch [N, 1, 128, 128], uint8."""
    return torch.from_numpy(np.stack([read_grey(file) for file in files])[:, None].copy())


def save(model: Classifier, path: Path) -> None:
    """Write the weights, with the class names in the file's metadata."""
    about = {
        "defects": json.dumps(model.defects),
        "products": json.dumps(model.products),
        "width": str(model.width),
    }
    save_file(model.state_dict(), path, metadata=about)


def load(path: Path) -> Classifier:
    """Read what `save` wrote, ready to predict."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = Classifier(json.loads(about["defects"]), json.loads(about["products"]), int(about["width"]))
    model.load_state_dict(weights)
    return model.eval()
