"""BigGAN as the training loop drives it."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.adversarial import Terms, constant
from defectaug.methods.biggan.generator import Generator, settle
from defectaug.methods.biggan.losses import hinge_d, hinge_g, orthogonal
from defectaug.methods.biggan.model import BigGAN
from defectaug.methods.noise import NoiseMethod, Real, adam
from defectaug.nn.augment import diff_augment
from defectaug.nn.distributed import descend


class BigGANMethod(NoiseMethod[BigGAN]):
    """Hinge loss, some steps of D to one of G, orthogonal regularisation of G; D sees augmented images.
    Arguments as of :attr:`defectaug.methods.base.MethodSpec.train`."""

    def __init__(self, config: Config, defects: int, products: int, compute: Compute, seed: int) -> None:
        torch.manual_seed(seed)
        o = config.optimizer
        super().__init__(BigGAN(config, defects, products), config, compute, seed)
        self.labels, betas = defects * products, (o.beta1, o.beta2)
        self.optimizers = {
            "generator_optimizer": adam(list(self.model.generator.parameters()), o.rate, betas),
            "discriminator_optimizer": adam(
                list(self.model.discriminator.parameters()), o.discriminator_rate, betas
            ),
        }

    def seen(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Images as D sees them."""
        return diff_augment(x, rng) if self.config.biggan.augment == "diffaugment" else x

    def play(self, real: Real, rng: torch.Generator, step: int) -> Terms:
        """Each step of D has a part of the real images to itself; the last one's fake images are G's."""
        model, own = self.model, self.config.biggan
        parts = real.parts(min(own.discriminator_steps, len(real)))
        for part in parts:
            with self.compute.autocast(), torch.set_grad_enabled(part is parts[-1]):
                fake = model.generator(model.generator.draw(len(part), rng).to(part.image.device), part.label)
            with self.compute.autocast():
                logits = model.discriminator(self.seen(part.image, rng), part.label)
                taken = model.discriminator(self.seen(fake.detach(), rng), part.label)
                of_discriminator = hinge_d(logits, taken)
            descend(self.optimizers["discriminator_optimizer"], of_discriminator)
        with constant(model.discriminator), self.compute.autocast():
            adversarial = hinge_g(model.discriminator(self.seen(fake, rng), part.label))
        terms = {"d_adversarial": of_discriminator, "adversarial": adversarial}
        loss = adversarial
        if own.orthogonal:
            terms["orthogonal"] = orthogonal(regularised(model.generator))
            loss = loss + own.orthogonal * terms["orthogonal"]
        descend(self.optimizers["generator_optimizer"], loss)
        return terms

    def weights(self) -> dict[str, Tensor]:
        """Averaged weights of G and D, with statistics of these weights."""
        self._settle()
        return super().weights()

    @torch.no_grad()
    def grid(self, examples: Batch) -> Tensor:
        self._settle()
        return super().grid(examples)

    def _settle(self) -> None:
        with self.compute.autocast():
            settle(self.average.shadow.generator, self.labels)


def regularised(generator: Generator) -> list[Tensor]:
    """The weights of G's layers as they are learnt, before spectral normalisation; not the labels' vectors."""
    weights = dict(generator.named_parameters())
    return [weight for name, weight in weights.items() if name.endswith("parametrizations.weight.original")]
