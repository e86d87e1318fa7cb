"""How M learns, from the bank's defects, augmented anew in each step: a reader tells it where in its noise each lies,
as in a variational autoencoder, and a critic compares what it draws with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from defectaug.device import Compute
from defectaug.methods.dtgan.losses import adversarial_d, adversarial_g, r1
from defectaug.methods.residual.bank import DefectBank
from defectaug.methods.residual.defect import CLIP, Defect
from defectaug.methods.residual.losses import segmentation, weighted_l1
from defectaug.methods.residual.mapping.frame import pose_of, to_frame
from defectaug.methods.residual.mapping.network import LATENT, SIDE, Drawing, Mapping
from defectaug.methods.residual.warp import KNOTS, NUMBERS, STAY, matrices, warp
from defectaug.nn.blocks import ResBlock, activate, conv3, linear

Category = Callable[[Tensor, Tensor], Tensor]

STEPS, BATCH = 300, 12
RATE, CRITIC_RATE, BETAS = 2e-3, 1e-3, (0.5, 0.99)
STEEPEST = 5.0  # norm of a gradient
STRUCTURE, AROUND, NUMBER, KL, ADVERSARIAL = 3.0, 2.0, 0.2, 0.02, 0.2  # weights of the terms, of the mask 1
R1, R1_EVERY = 0.5, 16
FOLLOW = 0.98  # of the averaged weights
MOMENT = 0.02  # by which each defect moves the moments of z of its category
LEAST = 4  # pixels of an augmented defect
FEATURES = 96


@dataclass(frozen=True)
class Example:
    """N defects as M draws them: ``maps`` (N, 1 + C, SIDE, SIDE), mask and structure as shares of CLIP; ``around`` (N,
    C, h, h); ``numbers`` (N, K), over their deviation; ``category`` (N,)."""

    maps: Tensor
    around: Tensor
    numbers: Tensor
    category: Tensor


class Look(nn.Module):
    """Features (N, FEATURES) of examples, and (N, 64, SIDE / 8, same) of patches of their frames."""

    def __init__(self, channels: int, numbers: int) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            conv3(4 * (1 + channels), 24), ResBlock(24, 48, "down"), ResBlock(48, 64, "down")
        )  # fmt: skip
        self.around = nn.Sequential(conv3(channels, 16), ResBlock(16, 32, "down"), ResBlock(32, 32, "down"))
        self.joined = linear(64 * 3**2 + 32 * 2**2 + numbers, FEATURES)

    def forward(self, shown: Example) -> tuple[Tensor, Tensor]:
        patches = self.frame(F.pixel_unshuffle(shown.maps, 2))
        around = self.around(F.adaptive_avg_pool2d(shown.around, 8))
        parts = [F.adaptive_avg_pool2d(patches, 3).flatten(1), around.flatten(1), shown.numbers]
        return activate(self.joined(torch.cat([part.float() for part in parts], 1))), patches


class Reader(nn.Module):
    """Mean and log-variance (N, LATENT) of z from examples."""

    def __init__(self, channels: int, numbers: int, categories: int) -> None:
        super().__init__()
        self.look, self.category = Look(channels, numbers), nn.Embedding(categories, FEATURES)
        self.out = linear(FEATURES, 2 * LATENT, gain=0.5)

    def forward(self, shown: Example) -> tuple[Tensor, Tensor]:
        mean, log = self.out(self.look(shown)[0] + self.category(shown.category)).float().chunk(2, 1)
        return mean, log.clamp(-8, 4)


class Critic(nn.Module):
    """Logits (N,) of examples: of the whole, by projection on the category, plus the mean of their patches'."""

    def __init__(self, channels: int, numbers: int, categories: int) -> None:
        super().__init__()
        self.look, self.category = Look(channels, numbers), nn.Embedding(categories, FEATURES)
        self.whole, self.patch = linear(FEATURES, 1), nn.Conv2d(64, 1, 1)

    def forward(self, shown: Example) -> Tensor:
        h, patches = self.look(shown)
        closely = self.patch(activate(patches)).float().mean((1, 2, 3))
        return self.whole(h)[:, 0].float() + (h.float() * self.category(shown.category)).sum(1) / 10 + closely


class Lesson:
    """Training of M.

    Args:
        mapping: the averaged weights, which are what will draw.
        bank: of the defects.
        category: numbers (N,) of classes and products (N,).
        flips: of the data.
        generator: of all random numbers.
        compute: device and precision.
    """

    def __init__(
        self, mapping: Mapping, bank: DefectBank, category: Category, flips: str, generator: torch.Generator,
        compute: Compute,
    ) -> None:  # fmt: skip
        self.mapping, self.bank, self.category = mapping, bank, category
        self.flips, self.generator, self.compute = flips, generator, compute
        self.slots = (bank.keys >= 0).nonzero().flatten()
        self.device = self.slots.device
        channels, categories = bank.structures.shape[1], len(mapping.centre)
        self.live = copy.deepcopy(mapping).requires_grad_(True).train()
        self.reader = Reader(channels, mapping.numbers, categories).to(self.device)
        self.critic = Critic(channels, mapping.numbers, categories).to(self.device)
        self.descent = Adam([*self.live.parameters(), *self.reader.parameters()], RATE, betas=BETAS)
        self.contest = Adam(self.critic.parameters(), CRITIC_RATE, betas=BETAS)
        self.met = torch.zeros(categories, dtype=torch.bool)
        self._measure()

    def _measure(self) -> None:
        """Mean, deviation and bounds of the bank's numbers."""
        defect = self.bank.get(self.slots, 1 + self.slots // self.bank.share)
        numbers = torch.cat([pose_of(defect.mask), defect.style], 1)
        self.mapping.least.copy_(numbers.amin(0))
        self.mapping.most.copy_(numbers.amax(0))
        self.mapping.mean.copy_(numbers.mean(0))
        self.mapping.deviation.copy_(numbers.std(0, correction=0).clamp(min=0.02))

    def _noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator).to(self.device)

    def _examples(self) -> Example:
        """Defects of the bank turned, scaled, stretched, mirrored and bent a little, about where they are."""
        chosen = self.slots[torch.randint(len(self.slots), (BATCH,), generator=self.generator).to(self.device)]
        label = 1 + chosen // self.bank.share
        defect = augmented(self.bank.get(chosen, label), self.flips, self.generator)
        rows = ((defect.mask > 0.5).flatten(1).sum(1) >= LEAST).nonzero().flatten()
        defect, category = defect[rows], self.category(label, self.bank.products[chosen])[rows]
        pose = pose_of(defect.mask)
        maps = to_frame(torch.cat([defect.mask, defect.structure / CLIP], 1), pose, SIDE)
        numbers = (torch.cat([pose, defect.style], 1) - self.mapping.mean) / self.mapping.deviation
        return Example(maps, defect.context, numbers, category)

    def step(self, number: int, rate: float) -> dict[str, float]:
        """One step of the critic, and one of M and the reader."""
        shown = self._examples()
        count = len(shown.category)
        if not count:
            return {}
        with self.compute.autocast():
            mean, log = self.reader(shown)
            z = mean + (0.5 * log).exp() * self._noise(count, LATENT)
            self._follow(shown.category, mean.detach(), log.detach())
            z = torch.cat([z, self.live.near(shown.category, self._noise(count, LATENT))])
            made = self.live(z, shown.category.repeat(2), self._noise(2 * count, 1, SIDE, SIDE))
        again, drawn = made[:count], self._drawn(made[count:], shown.category)
        values = {"critic": self._critic_step(shown, drawn, number)}
        mask, inside = shown.maps[:, :1], (shown.maps[:, :1] > 0.5).float()
        with self.compute.autocast():
            verdict = self.critic(drawn)
        terms = {
            "mask": segmentation(again.logits, mask),
            "structure": STRUCTURE * weighted_l1(again.structure / CLIP, shown.maps[:, 1:], inside),
            "around": AROUND * (again.around - shown.around).abs().mean(),
            "numbers": NUMBER * unlikeliness(shown.numbers, again.mean, again.deviation),
            "kl": KL * 0.5 * (mean.square() + log.exp() - 1 - log).sum(1).mean(),
            "adversarial": ADVERSARIAL * adversarial_g(verdict),
        }
        loss = torch.stack(list(terms.values())).sum()
        if not bool(loss.isfinite()):
            return {}
        self.descent.param_groups[0]["lr"] = RATE * rate
        self.descent.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.live.parameters(), STEEPEST)
        self.descent.step()
        self.mapping.steps += 1
        with torch.no_grad():
            share = 1 - min(FOLLOW, number / (number + 10))
            torch._foreach_lerp_(list(self.mapping.parameters()), list(self.live.parameters()), share)
        return values | {name: float(value.detach()) for name, value in terms.items()}

    def _drawn(self, made: Drawing, category: Tensor) -> Example:
        """What M makes of noise alone."""
        mask = torch.sigmoid(made.logits)
        numbers = made.mean + made.deviation * self._noise(*made.mean.shape)
        return Example(torch.cat([mask, mask * made.structure / CLIP], 1), made.around, numbers, category)

    def _critic_step(self, shown: Example, drawn: Example, number: int) -> float:
        """A step of the critic."""
        real = Example(shown.maps.requires_grad_(number % R1_EVERY == 0), shown.around, shown.numbers, shown.category)
        fake = Example(drawn.maps.detach(), drawn.around.detach(), drawn.numbers.detach(), drawn.category)
        with self.compute.autocast():
            logit = self.critic(real)
            loss = adversarial_d(logit, self.critic(fake))
        if real.maps.requires_grad:
            loss = loss + R1 * R1_EVERY * r1(logit, real.maps)
        self.contest.zero_grad(set_to_none=True)
        loss.backward()
        self.contest.step()
        shown.maps.requires_grad_(False)
        return float(loss.detach())

    def _follow(self, category: Tensor, mean: Tensor, log: Tensor) -> None:
        """Moments of z, of each category, as the live weights have them and those that will draw."""
        centre, spread = self.mapping.centre, self.mapping.spread
        for number in category.unique().tolist():
            own = category == number
            share = min(1.0, MOMENT * int(own.sum())) if self.met[number] else 1.0
            second = (spread[number].square() + centre[number].square()).lerp(
                (mean[own].square() + log[own].exp()).mean(0), share
            )
            centre[number] = centre[number].lerp(mean[own].mean(0), share)
            spread[number] = (second - centre[number].square()).clamp(min=1e-3).sqrt()
            self.met[number] = True
        self.live.centre.copy_(centre)
        self.live.spread.copy_(spread)


def unlikeliness(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Negative logarithm of the Gaussian density of numbers (N, K), but for a constant."""
    return (((x - mean) / deviation).square() / 2 + deviation.log()).sum(1).mean()


def augmented(defect: Defect, flips: str, generator: torch.Generator) -> Defect:
    """Defects turned, scaled, stretched, mirrored and bent a little, about where they are."""
    count, device = len(defect), defect.mask.device
    z = torch.randn(count, 1, NUMBERS, generator=generator).to(device)
    bend = torch.randn(count, 2, KNOTS, KNOTS, generator=generator).to(device)
    return warp(defect, matrices(z, torch.tensor([STAY]), flips)[:, 0], bend)


def learn(
    mapping: Mapping, bank: DefectBank, category: Category, flips: str, generator: torch.Generator, compute: Compute
) -> dict[str, float]:
    """Trains M on what the bank holds; arguments as of :class:`Lesson`. Returns the last step's terms."""
    values: dict[str, float] = {}
    if bool((bank.keys >= 0).any()):
        lesson = Lesson(mapping, bank, category, flips, generator, compute)
        for number in range(STEPS):
            values = lesson.step(number, min(1.0, 2 * (1 - number / STEPS))) or values
    return values
