"""Which of the places that stand out the defective images of a class share, and normal ones lack.

What stands out in an image need not be its defect: dirt, a tool mark, another lamp do so, too, on normal images as
well. Labels say of images what is asked of places, which is multiple-instance learning (Dietterich et al. 1997): a
linear classifier of places, and which places are the defect, are found in turns (MI-SVM, Andrews et al. 2002; here by
logistic regression).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.methods.prior import FeaturePrior, embed

KEPT = 64  # places of an image
BAGS = 64  # images of a category
SHARED, INSTANCES = 0.75, 8  # what of the clearest place's score makes a place defect; so many an image at most
TURNS = 4
DECAY = 0.01  # of the weights, by their squares
SPREAD = 4.0  # of features, all together: what the decay is relative to


@dataclass(frozen=True)
class Instances:
    """Collects places of images, then teaches the prior.

    Attributes:
        prior: calibrated; whose maps say what stands out, and whose separators are set.
        found: of every (product, defect), places of one image each: features (n, D) and how far they stand out (n,).
        normal: of every product, the same of normal images, some chosen at random among them.
    """

    prior: FeaturePrior
    found: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    normal: dict[int, list[Tensor]] = field(default_factory=dict)

    def observe(self, levels: list[Tensor], product: Tensor, defect: Tensor) -> Tensor:
        """Keeps instances of images.

        Args:
            levels: features of the images, at all strides.
            product, defect: their products and classes (N,), 0 for normal ones.

        Returns:
            what stands out, as :meth:`FeaturePrior.heat`.
        """
        maps = self.prior.heat(levels, product)
        heats = maps.flatten(1)
        for row, (owner, label) in enumerate(zip(product.tolist(), defect.tolist(), strict=True)):
            bags = self.normal.setdefault(owner, []) if label == 0 else self.found.setdefault((owner, label), [])
            if len(bags) >= BAGS:
                continue
            places = embed([level[row : row + 1] for level in levels])[0].flatten(1).T / self.prior.scale[owner]
            heat = heats[row]
            top = heat.topk(min(KEPT, len(heat))).indices
            if label == 0:
                self.normal[owner].append(torch.cat([places[top], places[:: max(1, len(places) // KEPT)]]))
            else:
                top = spread(heat)
                self.found[owner, label].append((places[top], heat[top]))
        return maps

    def learn(self) -> None:
        """Sets the separators of the prior, for every category that has been seen."""
        for (product, defect), bags in self.found.items():
            if product in self.normal:
                places, heats = [one for one, _ in bags], [heat for _, heat in bags]
                self.prior.separators[product, defect] = separator(places, heats, torch.cat(self.normal[product]))


def spread(heat: Tensor) -> Tensor:
    """Which places of an image, by how far they stand out (P,), may be its defect: KEPT of the clearest."""
    level = float(heat.max()) / 2
    ranked = heat.sort(descending=True).indices
    there = ranked[: max(1, int((heat >= level).sum()))]
    return there[torch.linspace(0, len(there) - 1, min(KEPT, len(there))).round().long().to(there.device)]


def separator(bags: Sequence[Tensor], heats: Sequence[Tensor], normal: Tensor) -> Tensor:
    """What a class's defects have that normal places lack.

    Args:
        bags: of every defective image, features (n, D) of places, of which some are its defect.
        heats: how far these stand out from normal ones (n,), 1 being seldom.
        normal: features (M, D) of places of normal images.

    Returns:
        (D + 1,) weights and bias of a score that is 0 at the median of normal places and 1 at their 99th percentile.
    """
    mean, unit = normal.mean(0), SPREAD / normal.shape[1] ** 0.5
    outside = (normal - mean) * unit
    inside = [(one - mean) * unit for one in bags]
    chosen = torch.cat([one[torch.arange(KEPT) % len(one)] for one in inside])  # at first all: the clearest may be none
    weight, low, high = outside.new_zeros(outside.shape[1]), outside.new_zeros(()), outside.new_ones(())
    for _ in range(TURNS):
        weight = logistic(chosen, outside)
        usual = outside @ weight
        low, high = usual.median(), torch.quantile(usual[:: max(1, len(usual) // 10000)], 0.99)
        scores = [(one @ weight - low) / (high - low).clamp(min=1e-6) + heat
                  for one, heat in zip(inside, heats, strict=True)]  # fmt: skip
        chosen = torch.cat([one[likeliest(score)] for one, score in zip(inside, scores, strict=True)])
    weight = weight * unit / (high - low).clamp(min=1e-6)
    bias = -(mean @ weight) - low / (high - low).clamp(min=1e-6)
    return torch.cat([weight, bias[None]])


def likeliest(score: Tensor) -> Tensor:
    """INSTANCES of an image's places (n,) whose scores come near the highest, the same ones again where they are
    fewer: every image weighs alike."""
    ranked = score.sort(descending=True)
    count = min(INSTANCES, int((ranked.values >= SHARED * ranked.values[0]).sum().clamp(min=1)))
    return ranked.indices[torch.arange(INSTANCES) % count]


@torch.enable_grad()
def logistic(inside: Tensor, outside: Tensor) -> Tensor:
    """Weights (D,) of a logistic regression of features (N, D), (M, D), both kinds weighing alike."""
    weight = torch.zeros(inside.shape[1], device=inside.device, requires_grad=True)
    bias = torch.zeros((), device=inside.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.softplus(-(inside @ weight + bias)).mean() + F.softplus(outside @ weight + bias).mean()
        value = value / 2 + DECAY / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    return weight.detach()
