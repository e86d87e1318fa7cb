"""Classifiers of images: build one, train it, predict with it. Images are uint8 (N, C, S, S) tensors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from defectaug.device import Compute
from defectaug.io.recent import Recent
from defectaug.metrics.augmentation import Augment
from defectaug.nn.backbones import LITE, Backbone, InitialWeights, Standardised, build_backbone

RATES = {"frozen": 1e-3, "scratch": 1e-3, "pretrained": 2e-4}  # AdamW
WARMUP = 0.05  # share of the steps
VIEWS = 8  # augmented views of each training image that a frozen network is shown
MOST_VIEWS = 8192  # of all images together
BATCH = 128  # images that a network is shown at once where it is not trained
Steps = Callable[[int], object]


def usual_rate(name: str, weights: InitialWeights) -> float:
    """Learning rate of a backbone, by name and by what it starts with."""
    return RATES["scratch" if weights.file is None else "frozen" if name == LITE else "pretrained"]


class Classifier(nn.Module):
    """A backbone, a linear layer for the classes, and if wanted one that tells real from synthetic.

    The second layer lies behind a gradient reversal layer (Ganin and Lempitsky, 2015; section 4.2 of the paper): it is
    trained to tell the two apart, the backbone not to leave any difference.

    A frozen part of the backbone sees an image once, not in every step: the rest takes what :meth:`embed` gives.
    """

    def __init__(self, backbone: Backbone, classes: int, *, auxiliary: bool = False) -> None:
        super().__init__()
        self.frozen, self.backbone = backbone.frozen, backbone.network
        self.head = nn.Linear(backbone.features, classes)
        self.auxiliary = nn.Linear(backbone.features, 2) if auxiliary else None

    def embed(self, images: Tensor) -> Tensor:
        """What the trained part takes of images (B, C, S, S) in [0, 1]: what the frozen part makes of them."""
        return images if self.frozen is None else self.frozen(images)

    def forward(self, embedded: Tensor) -> Tensor:
        """Class logits (B, K)."""
        return self.head(self.backbone(embedded))

    def with_auxiliary(self, embedded: Tensor, strength: float) -> tuple[Tensor, Tensor | None]:
        """Class logits (B, K), and real-or-synthetic logits (B, 2) whose gradient comes back reversed."""
        features = self.backbone(embedded)
        if self.auxiliary is None:
            return self.head(features), None
        return self.head(features), self.auxiliary(reverse_gradient(features, strength))


def build(
    name: str,
    classes: int,
    *,
    seed: int = 0,
    weights: InitialWeights | None = None,
    auxiliary: bool = False,
) -> Classifier:
    """A new classifier; the same for the same seed.

    Args:
        name: as of `build_backbone`.
        classes: number of classes.
        seed: of the first weights.
        weights: what the backbone starts with, from `backbones.find_weights`; None: from scratch.
        auxiliary: whether to add the real-or-synthetic layer.

    Raises:
        ConfigError: no classifier of that name, or weights of another network.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = build_backbone(name, weights)
        # What is frozen cannot unlearn a difference
        return Classifier(backbone, classes, auxiliary=auxiliary and backbone.frozen is None)


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context, features: Tensor, strength: float) -> Tensor:  # type: ignore[no-untyped-def, override]
        context.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def, override]
        return -context.strength * gradient, None


def reverse_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """The features as they are; their gradient times minus `strength`."""
    return _Reversal.apply(features, strength)


class CategorySampler:
    """Batches in which every category is as likely as every other, and real images are not crowded out of theirs.

    Args:
        categories: (N,) number of the category, that is product and defect, of every image.
        synthetic: (N,) whether it is synthetic.
        batch: images a batch.
        seed: with the step, fixes a batch.
        real_share: least share of real images among the draws from a category that holds both.
    """

    def __init__(
        self,
        categories: NDArray[np.int64],
        synthetic: NDArray[np.bool_],
        *,
        batch: int,
        seed: int,
        real_share: float = 0.5,
    ) -> None:
        self._batch, self._seed = batch, seed
        weights = np.zeros(len(categories))
        for category in np.unique(categories):
            real, added = (categories == category) & ~synthetic, (categories == category) & synthetic
            share = real.sum() / (real.sum() + added.sum())
            share = max(share, real_share) if real.any() and added.any() else share
            weights[real] = share / max(1, real.sum())
            weights[added] = (1 - share) / max(1, added.sum())
        self._edges = np.cumsum(weights / weights.sum())

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Image numbers (B,) of a step, the same whenever it is asked."""
        rng = np.random.default_rng([self._seed, step])
        # One draw in each B-th of the range: every category gets its share of each batch, to within one image
        points = (np.arange(self._batch) + rng.random(self._batch)) / self._batch
        return np.minimum(np.searchsorted(self._edges, points, side="right"), len(self._edges) - 1)


@dataclass(frozen=True)
class Labelled:
    """Images (N, C, S, S) uint8 and their targets (N, K + 2): a share for each class, then for real and synthetic.

    The last two columns are zero for images that the real-or-synthetic layer is not to learn from.
    """

    images: Tensor
    targets: Tensor

    @staticmethod
    def of(images: Tensor, labels: Tensor, classes: int) -> Labelled:
        """From class numbers (N,), without real-or-synthetic."""
        targets = torch.zeros(len(labels), classes + 2)
        targets[torch.arange(len(labels)), labels] = 1
        return Labelled(images, targets)

    @property
    def labels(self) -> Tensor:
        """Class numbers (N,)."""
        return self.targets[:, :-2].argmax(1)


@dataclass(frozen=True)
class Validation:
    """Images by which the best state of a training is chosen: labels (N,), and weights (N,) that sum to 1."""

    images: Tensor
    labels: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained; see `StudySettings` for the fields."""

    steps: int
    rate: float
    weight_decay: float = 0.01
    checks: int = 10
    reversal: float = 0.0


@dataclass(frozen=True)
class Check:
    """Error rate and cross-entropy on the validation images after so many steps, weighted."""

    step: int
    error: float
    loss: float


class Views:
    """Augmented views of images, as a frozen network sees them: computed once, for all trainings.

    The views of an image follow from its pixels; only those of augmentations that mix images follow from a training's
    seed, and are not kept.

    Args:
        max_bytes: of what is kept.
    """

    def __init__(self, max_bytes: int = 1 << 28) -> None:
        self._kept: Recent[str, NDArray[np.float16]] = Recent(max_bytes)

    def plain(self, classifier: Classifier, images: Tensor, compute: Compute) -> Tensor:
        """What the trained part takes of uint8 images (N, C, S, S), which are not augmented."""
        return images if classifier.frozen is None else self._alone(classifier, images, Augment("none"), 1, compute)[0]

    def drawn(
        self, classifier: Classifier, data: Labelled, augment: Augment, generator: torch.Generator, compute: Compute
    ) -> tuple[Tensor, Tensor]:
        """V views of every image (V, N, F), and their targets (V, N, T)."""
        count = 1 if augment.kind == "none" else max(1, min(VIEWS, MOST_VIEWS // len(data.images)))
        if not augment.mixes:
            alone = self._alone(classifier, data.images, augment, count, compute)
            return alone, data.targets.to(compute.device).expand(count, -1, -1)
        views = [_mixed(classifier, data, augment, generator, compute) for _ in range(count)]
        return torch.stack([view for view, _ in views]), torch.stack([targets for _, targets in views])

    def _alone(self, classifier: Classifier, images: Tensor, augment: Augment, count: int, compute: Compute) -> Tensor:
        how = f"{augment} {count} {compute.device.type} {compute.bf16}".encode()
        keys = [hashlib.sha256(how + image.numpy().tobytes()).hexdigest() for image in images]
        found = [self._kept.get(key) if key in self._kept else None for key in keys]
        missing = [number for number, rows in enumerate(found) if rows is None]
        step, none = max(1, BATCH // count), torch.zeros(count, 1)
        for some in (missing[start : start + step] for start in range(0, len(missing), step)):
            generators = [(n, torch.Generator().manual_seed(int(keys[n][:12], 16))) for n in some]
            views = [augment(images[n : n + 1].expand(count, -1, -1, -1), none, drawn)[0] for n, drawn in generators]
            rows = _embedded(classifier, torch.cat(views), compute).cpu().numpy().astype(np.float16)
            for number, row in zip(some, rows.reshape(len(some), count, -1), strict=True):
                found[number] = self._kept.put(keys[number], row)
        return torch.from_numpy(np.stack(found, axis=1)).to(compute.device).float()  # type: ignore[arg-type]


def _mixed(
    classifier: Classifier, data: Labelled, augment: Augment, generator: torch.Generator, compute: Compute
) -> tuple[Tensor, Tensor]:
    """One view of every image, mixed with others of its batch, and the targets, in their order."""
    order = torch.randperm(len(data.images), generator=generator)
    batches = [augment(data.images[some], data.targets[some], generator) for some in order.split(BATCH)]
    embedded = torch.cat([_embedded(classifier, batch, compute) for batch, _ in batches])
    targets = torch.cat([wanted for _, wanted in batches]).to(compute.device)
    return embedded[order.argsort()], targets[order.argsort()]


@torch.no_grad()
def _embedded(classifier: Classifier, images: Tensor, compute: Compute) -> Tensor:
    """What the trained part takes of images (N, C, S, S) in [0, 1]."""
    with compute.autocast():
        return classifier.embed(images.to(compute.device))


def fit(
    classifier: Classifier,
    data: Labelled,
    sampler: Callable[[int], NDArray],
    recipe: Recipe,
    compute: Compute,
    *,
    augment: Augment,
    validation: Validation | None = None,
    seed: int = 0,
    views: Views | None = None,
    progress: Steps | None = None,
) -> list[Check]:
    """Trains in place and leaves the state that was best on the validation images, or the last one without any.

    Args:
        classifier: moved to the device.
        data: the training images.
        sampler: numbers (B,) of the images of a step's batch.
        recipe, compute: how, and where.
        augment: what is done to a batch.
        validation: validation images.
        seed: of augmentation and dropout.
        views: what a frozen network has seen already; None: nothing.
        progress: called with each step done.

    Returns:
        The checks in order. Of equal error the lower loss counts as better.
    """
    classifier.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, recipe.rate, weight_decay=recipe.weight_decay)
    checked = {round(recipe.steps * (n + 1) / recipe.checks) for n in range(recipe.checks)} if validation else set()
    checks: list[Check] = []
    best: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        views = views or Views()
        draw = _draws(classifier, data, augment, generator, compute, views)
        if validation is not None:
            validation = replace(validation, images=views.plain(classifier, validation.images, compute))
        for step in range(recipe.steps):
            classifier.train()
            batch, wanted = draw(torch.from_numpy(sampler(step)))
            _step(classifier, optimiser, batch, wanted, step, recipe, compute)
            if validation is not None and step + 1 in checked:
                checks.append(_check(classifier, validation, step + 1, compute))
                if checks[-1] == min(checks, key=lambda check: (check.error, check.loss)):
                    state = classifier.state_dict().items()
                    best = {name: value.clone() for name, value in state if not name.startswith("frozen.")}
            if progress is not None:
                progress(step + 1)
    if best:
        classifier.load_state_dict(best, strict=False)
    return checks


def _draws(
    classifier: Classifier, data: Labelled, augment: Augment, generator: torch.Generator, compute: Compute, views: Views
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Gives what the trained part takes of images of these numbers (B,), augmented, and their targets."""
    if classifier.frozen is None:
        images, targets = data.images.to(compute.device), data.targets.to(compute.device)
        return lambda chosen: augment(images[chosen], targets[chosen], generator)
    embedded, wanted = views.drawn(classifier, data, augment, generator, compute)
    if isinstance(classifier.backbone, Standardised):
        classifier.backbone.adapt(embedded)

    def draw(chosen: Tensor) -> tuple[Tensor, Tensor]:
        view = torch.randint(len(embedded), (len(chosen),), generator=generator)
        return embedded[view, chosen], wanted[view, chosen]

    return draw


@torch.inference_mode()
def predict(classifier: Classifier, images: Tensor, compute: Compute) -> Tensor:
    """Class probabilities (N, K), on the CPU, of uint8 images (N, C, S, S), or of what a frozen part gave."""
    classifier.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    classifier.eval()
    parts = []
    for chunk in images.split(BATCH):
        inputs = chunk.to(compute.device)
        with compute.autocast():
            logits = classifier(inputs if inputs.is_floating_point() else classifier.embed(inputs.float() / 255))
        parts.append(logits.float().softmax(1).cpu())
    return torch.cat(parts) if parts else torch.zeros(0, classifier.head.out_features)


def rate_of(step: int, recipe: Recipe) -> float:
    """Learning rate of a step: up in a line, then down in half a cosine."""
    warmup = max(1, round(WARMUP * recipe.steps))
    if step < warmup:
        return recipe.rate * (step + 1) / warmup
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, recipe.steps - warmup)))


def reversal_strength(step: int, steps: int) -> float:
    """From 0 to 1 over the training, as in eq. 14 of Ganin and Lempitsky: the layer has to learn first."""
    return 2 / (1 + math.exp(-10 * step / steps)) - 1


def _step(
    classifier: Classifier,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    step: int,
    recipe: Recipe,
    compute: Compute,
) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate_of(step, recipe)
    with compute.autocast():
        logits, origin = classifier.with_auxiliary(images, reversal_strength(step, recipe.steps))
    loss = F.cross_entropy(logits.float(), targets[:, :-2])
    if origin is not None:
        loss = loss + recipe.reversal * origin_loss(origin.float(), targets[:, -2:])
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def origin_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of real-or-synthetic over the images that have a target, zero where none has."""
    return -(targets * logits.log_softmax(1)).sum() / targets.sum().clamp(min=1)


def _check(classifier: Classifier, validation: Validation, step: int, compute: Compute) -> Check:
    shares = predict(classifier, validation.images, compute)
    wrong = (shares.argmax(1) != validation.labels).float()
    loss = F.nll_loss(shares.clamp(min=1e-7).log(), validation.labels, reduction="none")
    return Check(step, float((wrong * validation.weights).sum()), float((loss * validation.weights).sum()))
