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

from defectaug.methods.prior import FeaturePrior

Bag = tuple[Tensor, Tensor]  # places of an image: features (n, D), how far they stand out (n,)
KEPT = 64  # places of an image
FOLDS = 4
SHARED, INSTANCES = 0.75, 8  # what of the clearest place's score makes a place defect; so many an image at most
TURNS = 4
DECAY = 0.01  # of the weights, by their squares
SPREAD = 4.0  # of features, all together: what the decay is relative to
ALONE = 0.4  # what counts of a place that stands out, but is unlike the defects of its class
SHARPNESS = 4.0  # with which it turns from one into the other


@dataclass(frozen=True)
class Instances:
    """Collects places of a product's images, one image at a time, and learns which of them are its defects.

    Attributes:
        prior: of this one product, calibrated; whose maps say what stands out.
        found: of every class, places of each defective image: features (n, D) and how far they stand out (n,).
        normal: features of places of normal images, some of which stand out and some chosen evenly.
        separators: of every class, what is learnt: (D + 1,), by :func:`separator`.
    """

    prior: FeaturePrior
    found: dict[int, list[Bag]] = field(default_factory=dict)
    normal: list[Tensor] = field(default_factory=list)
    separators: dict[int, Tensor] = field(default_factory=dict)

    def observe(self, levels: list[Tensor], label: int) -> Tensor:
        """Keeps places of an image.

        Args:
            levels: features of the image, at all strides.
            label: its class, 0 being normal.

        Returns:
            what stands out at stride 4, (h, w).
        """
        heat = self._heat(levels)
        places, ranked = self.prior.scaled(levels, 0), heat.flatten()
        if label == 0:
            top = ranked.topk(min(KEPT, len(ranked))).indices
            self.normal.append(torch.cat([places[top], places[:: max(1, len(places) // KEPT)]]))
        else:
            top = spread(ranked)
            self.found.setdefault(label, []).append((places[top], ranked[top]))
        return heat

    def learn(self) -> None:
        """Finds what the defects of each class share, and normal images lack."""
        for label, bags in self.found.items():
            places, heats = [one for one, _ in bags], [heat for _, heat in bags]
            self.separators[label] = separator(places, heats, torch.cat(self.normal))

    def evidence(self, levels: list[Tensor], label: int) -> Tensor:
        """What stands out in an image at stride 4, (h, w), where places unlike the defects of the class count for
        less."""
        heat, weights = self._heat(levels), self.separators[label]
        score = self.prior.scaled(levels, 0) @ weights[:-1] + weights[-1]
        return heat * (ALONE + (1 - ALONE) * torch.sigmoid(SHARPNESS * (score - 1))).view_as(heat)

    def _heat(self, levels: list[Tensor]) -> Tensor:
        return self.prior.heat(levels, torch.zeros(1, dtype=torch.long))[0, 0]


def spread(heat: Tensor) -> Tensor:
    """Which places of an image, by how far they stand out (P,), may be its defect: KEPT of the clearest."""
    level = float(heat.max()) / 2
    ranked = heat.sort(descending=True).indices
    there = ranked[: max(1, int((heat >= level).sum()))]
    return there[torch.linspace(0, len(there) - 1, min(KEPT, len(there))).round().long().to(there.device)]


def held_out_scores(defective: Sequence[Bag], normal: Sequence[Bag]) -> tuple[list[float], list[float]]:
    """How like the defects of the other images the places of each image are, by cross-validation: an image's score is
    that of its most alike place, by a :func:`separator` that was learnt from images of other folds. Where a class
    shows a defect that normal images lack, the first scores are above the second.

    Args:
        defective: at least two images of one class.
        normal: at least two of the same product, of places that stand out there.
    """
    scores: tuple[list[float], list[float]] = ([], [])
    folds = min(FOLDS, len(defective), len(normal))
    for fold in range(folds):
        seen = [[bag for n, bag in enumerate(bags) if n % folds != fold] for bags in (defective, normal)]
        weights = separator([one for one, _ in seen[0]], [heat for _, heat in seen[0]],
                            torch.cat([one for one, _ in seen[1]]))  # fmt: skip
        for bags, found in zip((defective, normal), scores, strict=True):
            found += [float((places @ weights[:-1] + weights[-1]).max()) for places, _ in bags[fold::folds]]
    return scores


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
    for _ in range(TURNS):
        weight = logistic(chosen, outside)
        usual = outside @ weight
        low, high = usual.median(), torch.quantile(usual[:: max(1, len(usual) // 10000)], 0.99)
        weight, low = (value / (high - low).clamp(min=1e-6) for value in (weight, low))
        scores = [one @ weight - low + heat for one, heat in zip(inside, heats, strict=True)]
        chosen = torch.cat([one[likeliest(score)] for one, score in zip(inside, scores, strict=True)])
    return torch.cat([weight * unit, (-(mean * unit) @ weight - low)[None]])


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
