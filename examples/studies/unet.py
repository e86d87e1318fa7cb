"""A U-Net (Ronneberger et al., 2015) that learns masks from synthetic images; how well its maps find real defects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from defectaug.device import Compute

MOST_FALSE = 0.3  # false-positive rate up to which PRO is integrated (Bergmann et al., 2020)
Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]


class UNet(nn.Module):
    """Images (B, 3, S, S) in [0, 1] to logits (B, 1, S, S); S divisible by 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(_block(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in pairwise(widths))
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        h, kept = images * 2 - 1, []
        for number, block in enumerate(self.down):
            h = block(F.max_pool2d(h, 2) if number else h)
            kept.append(h)
        kept.pop()
        for block in reversed(self.up):
            h = block(torch.cat([kept.pop(), F.interpolate(h, scale_factor=2, mode="nearest")], 1))
        return self.out(h)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for first in (inputs, outputs):
        layers += [nn.Conv2d(first, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
    return nn.Sequential(*layers)


def train_unet(
    images: Tensor, masks: Tensor, compute: Compute, *, width: int, steps: int, batch: int, seed: int,
    progress: Callable[[int, int], object],
) -> UNet:  # fmt: skip
    """Trains on uint8 images (N, 3, S, S) and masks (N, S, S); half of a batch has defects, where there are others.

    The loss is cross-entropy plus one less the Dice coefficient.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = UNet(width).to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    defective = masks.flatten(1).any(1)
    kinds = [part for part in (torch.nonzero(defective == has)[:, 0] for has in (True, False)) if len(part)]
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for step in range(steps):
        chosen = torch.cat([part[torch.from_numpy(rng.integers(0, len(part), batch // len(kinds)))] for part in kinds])
        tone = torch.rand(2, len(chosen), 1, 1, 1, generator=generator) - 0.5
        light = (images[chosen].float() / 255 * (1 + 0.4 * tone[0]) + 0.2 * tone[1]).clamp(0, 1)
        wanted = masks[chosen].float()[:, None].to(compute.device)
        with compute.autocast():
            logits = network(light.to(compute.device, memory_format=torch.channels_last))
        shares = logits.float().sigmoid()
        overlap = 2 * (shares * wanted).sum() / (shares.sum() + wanted.sum()).clamp(min=1)
        loss = F.binary_cross_entropy_with_logits(logits.float(), wanted) + 1 - overlap
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        progress(step + 1, steps)
    return network.eval()


@torch.inference_mode()
def maps_of(network: UNet, images: Tensor, compute: Compute) -> Maps:
    """Probabilities (N, S, S) of uint8 images."""
    found = []
    for some in images.split(16):
        with compute.autocast():
            logits = network((some.float() / 255).to(compute.device, memory_format=torch.channels_last))
        found.append(logits.float().sigmoid()[:, 0].cpu())
    return torch.cat(found).numpy()


@dataclass(frozen=True)
class Localisation:
    """Scores of maps against masks, over all pixels: area under ROC, average precision, best F1, per-region overlap."""

    auroc: float
    precision: float
    f1: float
    pro: float


def localisation(maps: Maps, masks: Masks) -> Localisation:
    """The scores of maps (N, S, S) of images with and without defects."""
    wanted, scores = masks.ravel(), maps.ravel()
    precision, recall, _ = precision_recall_curve(wanted, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return Localisation(
        float(roc_auc_score(wanted, scores)),
        float(average_precision_score(wanted, scores)),
        float(f1.max()),
        per_region_overlap(maps, masks),
    )


def per_region_overlap(maps: Maps, masks: Masks, thresholds: int = 300) -> float:
    """Mean share of each connected region that is found, over false-positive rates up to 0.3 (Bergmann et al., 2020).

    Args:
        maps, masks: (N, S, S).
        thresholds: of the curve, at equal steps of the rate.
    """
    sound = np.sort(maps[~masks])[::-1]
    rates = np.linspace(0, MOST_FALSE, thresholds)
    levels = sound[np.minimum((rates * len(sound)).astype(int), len(sound) - 1)]
    found = []
    for scores, mask in zip(maps, masks, strict=True):
        regions, count = label(mask, np.ones((3, 3)))
        for number in range(1, count + 1):
            inside = np.sort(scores[regions == number])
            found.append(1 - np.searchsorted(inside, levels, side="right") / len(inside))
    return float(np.trapezoid(np.mean(found, axis=0), rates) / MOST_FALSE)
