"""StyleGAN2 as the training loop drives it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from defectaug.config.schema import Config
from defectaug.device import Compute
from defectaug.methods.adversarial import Terms, constant
from defectaug.methods.dtgan.losses import adversarial_d, adversarial_g, r1
from defectaug.methods.noise import NoiseMethod, Real, adam
from defectaug.methods.stylegan2.ada import Adaptive
from defectaug.methods.stylegan2.losses import path_length_penalty, path_lengths
from defectaug.methods.stylegan2.model import StyleGAN2
from defectaug.nn.augment import diff_augment
from defectaug.nn.distributed import descend

PATH_DECAY = 0.01  # of the running mean of path lengths


class PathMean(nn.Module):
    """The running mean a of path lengths, in Eq. (4)."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def update(self, lengths: Tensor) -> Tensor:
        """Takes in lengths (N,); returns the mean."""
        self.mean.lerp_(lengths.detach().mean(), PATH_DECAY)
        return self.mean.clone()


class StyleGAN2Method(NoiseMethod[StyleGAN2]):
    """Logistic loss with R1 and path lengths, each in some steps only; D sees augmented images.
    Arguments as of :attr:`defectaug.methods.base.MethodSpec.train`."""

    def __init__(self, config: Config, defects: int, products: int, compute: Compute, seed: int) -> None:
        torch.manual_seed(seed)
        own, o = config.stylegan2, config.optimizer
        super().__init__(StyleGAN2(config, defects, products), config, compute, seed)
        self.path = PathMean().to(compute.device)
        self.modules["path"] = self.path
        self.adaptive = Adaptive(own.ada_target, own.ada_images).to(compute.device) if own.augment == "ada" else None
        if self.adaptive is not None:
            self.modules["adaptive"] = self.adaptive
        betas = (o.beta1, o.beta2)
        generator, discriminator = list(self.model.generator.parameters()), list(self.model.discriminator.parameters())
        self.optimizers = {
            "generator_optimizer": adam(generator, o.rate, betas, own.path_every),
            "discriminator_optimizer": adam(discriminator, o.discriminator_rate, betas, config.run.r1_every),
        }

    def seen(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Images as D sees them."""
        if self.adaptive is not None:
            return self.adaptive(x, rng)
        return diff_augment(x, rng) if self.config.stylegan2.augment == "diffaugment" else x

    def play(self, real: Real, rng: torch.Generator, step: int) -> Terms:
        """D and G learn from the same images; R1 and path lengths are in full precision."""
        model, own, run = self.model, self.config.stylegan2, self.config.run
        with self.compute.autocast():
            styles = model.generator.styles(real.label, rng, own.mixing)
            fake = model.generator.synthesis(styles, self._noise(len(real), rng))
            shown = self.seen(real.image, rng)
            logits = model.discriminator(shown, real.label)
            taken = model.discriminator(self.seen(fake.detach(), rng), real.label)
            terms = {"d_adversarial": adversarial_d(logits, taken), "real_sign": logits.detach().sign().mean()}
        loss = terms["d_adversarial"]
        if step % run.r1_every == 0 and self.config.loss.r1:
            x = shown.detach().requires_grad_(True)
            loss = loss + run.r1_every * self.config.loss.r1 * r1(model.discriminator(x, real.label), x)
        descend(self.optimizers["discriminator_optimizer"], loss)
        with constant(model.discriminator), self.compute.autocast():
            terms["adversarial"] = adversarial_g(model.discriminator(self.seen(fake, rng), real.label))
        loss = terms["adversarial"]
        if step % own.path_every == 0 and own.path_length:
            penalty = self._path_penalty(real.label[: max(1, len(real) // 2)], rng)
            loss = loss + own.path_every * own.path_length * penalty
        descend(self.optimizers["generator_optimizer"], loss)
        return terms

    def _path_penalty(self, label: Tensor, rng: torch.Generator) -> Tensor:
        generator = self.model.generator
        styles = generator.styles(label, rng, self.config.stylegan2.mixing)
        image = generator.synthesis(styles, self._noise(len(label), rng))
        lengths = path_lengths(image, styles, torch.randn(image.shape, generator=rng).to(image.device))
        return path_length_penalty(lengths, self.path.update(lengths))

    def _noise(self, count: int, rng: torch.Generator) -> list[Tensor]:
        return [one.to(self.compute.device) for one in self.model.generator.synthesis.draw_noise(count, rng)]

    def adjust(self, values: Mapping[str, float]) -> None:
        """Steers the chance of augmentation."""
        if self.adaptive is not None:
            self.adaptive.adjust(values["real_sign"], 2 * self.config.run.batch_size)
