"""A trained model as synthesis uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.data.framing import Photograph
from defectaug.device import Compute
from defectaug.io.images import to_model
from defectaug.io.windows import Window
from defectaug.methods.assessment import Assessment, odds
from defectaug.methods.base import BundleInfo, Painted, SourceFeatures
from defectaug.methods.inference import TrainedModel
from defectaug.methods.placement import Placement, Seen, Variety
from defectaug.methods.residual.cutout import HUE, Cutout
from defectaug.methods.residual.defect import Defect, masked_mean, paste, stronger
from defectaug.methods.residual.encoder import Encoder
from defectaug.methods.residual.follow import cut_out
from defectaug.methods.residual.model import CONTEXT, Residual
from defectaug.methods.residual.warp import BEND, Warps, draw_warps, enlarge, fitting, put
from defectaug.nn.blocks import dilated

CLEAR, DOUBTFUL = 0.5, 0.1  # probabilities from which a pixel is defect, and may be
LEAST = 4  # pixels that are a defect
NORMAL = 0
# A classifier learns more from defects that are fainter, stronger, smaller and larger than known ones (docs/trials.md).
VARIETY = Variety(strength=(0.6, 1.3), size=(0.7, 1.3))
RETIRED = ("painter.", "discriminator.")  # weights of bundles made before the game was left out


@dataclass(frozen=True)
class Codes:
    """Defects to be painted: as they are where a reference gives them, warped to a place of the source (``warps``)
    where they are drawn. ``cutouts``: None for those that have none. ``alike``: whether they come from the
    source's product."""

    shape: Defect
    warps: Warps | None
    cutouts: tuple[Cutout | None, ...]
    alike: tuple[bool, ...]

    @property
    def defect(self) -> Tensor:
        """Classes (N,)."""
        return self.shape.label

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, rows: slice | Tensor) -> Codes:
        kept = torch.arange(len(self))[rows.cpu() if isinstance(rows, Tensor) else rows].tolist()
        warps = None if self.warps is None else self.warps[rows]
        cutouts = tuple(self.cutouts[row] for row in kept)
        alike = tuple(self.alike[row] for row in kept)
        return Codes(self.shape[rows], warps, cutouts, alike)


class InferenceModel(TrainedModel[Residual]):
    """Implements :class:`defectaug.methods.base.DefectModel`."""

    def __init__(self, config: Config, info: BundleInfo, networks: Residual, compute: Compute) -> None:
        super().__init__(config, info, networks, compute)
        networks.encoder.features.fold()

    def variety(self, defect: int, product: int) -> Variety:
        """Of new defects; none for cut and paste, which leaves them as they are. They are no stronger or fainter than
        known ones of the category: those of an opaque material would take on the surface's colour."""
        if not self.info.styles:
            return Variety()
        least, most = self.networks.bank.strengths(defect, product)
        return replace(VARIETY, strength=(max(VARIETY.strength[0], least), min(VARIETY.strength[1], most)))

    @torch.inference_mode()
    def latent_codes(self, defect: Tensor, seeds: Sequence[int], product: Tensor | None = None) -> Codes:
        """Codes of classes (N,) from one seed each, for products (N,), -1 for one that is not known."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        label = defect.to(self.device)
        owner = torch.full_like(label, -1) if product is None else product.to(self.device)
        shape, cutouts, alike = self.networks.drawn(label, owner, generators)
        return Codes(shape, draw_warps(generators, self.device), cutouts, alike)

    @torch.inference_mode()
    def seen_in(self, defect: int, seed: int, product: int) -> Seen | None:
        """As of :class:`defectaug.methods.placement.KnowsPlaces`."""
        label, owner = (torch.tensor([number], device=self.device) for number in (defect, product))
        return self.networks.seen_in(label, owner, torch.Generator().manual_seed(seed))

    @torch.inference_mode()
    def reference_codes(
        self,
        image: Tensor,
        defect: Tensor,
        photographs: Sequence[Photograph] | None = None,
        alike: Sequence[bool] | None = None,
    ) -> Codes:
        """Codes of the defects (N,) that the images (N, C, S, S) show; ``photographs``: the images at a larger scale;
        ``alike``: whether they show the product that the defects are meant for."""
        shape, clean = self._read(image, defect)
        levels = masked_mean(clean.float(), shape.mask).flatten(1)
        cutouts = tuple(
            self._cut_out(one, shape[row : row + 1], levels[row]) for row, one in enumerate(photographs or ())
        )
        return Codes(shape, None, cutouts or (None,) * len(shape), tuple(alike or (True,) * len(shape)))

    def _read(self, image: Tensor, defect: Tensor) -> tuple[Defect, Tensor]:
        with self.compute.autocast():
            return self.networks.read(self._ready(image), defect.to(self.device))

    def _cut_out(self, photograph: Photograph, shape: Defect, level: Tensor) -> Cutout | None:
        """A defect (1,), of the level (C,), cut out of its photograph."""

        def mask(window: Window) -> Tensor:
            pixels = to_model(window.cut(photograph.pixels) + 1, self.info.image_size, self.info.channels, 2)
            return self._read(torch.from_numpy(pixels)[None], shape.label)[0].mask

        return cut_out(photograph, shape.style[0], level, shape.mask, mask)

    @torch.inference_mode()
    def with_style(self, codes: Codes, seeds: Sequence[int]) -> Codes:
        """The same shapes in styles of the product that their own are most like: of another, a scratch may be dark
        where all are bright."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        bank, own = self.networks.bank, codes.shape.style
        style = bank.draw_styles(codes.defect, bank.nearest_product(codes.defect, own), generators, own)
        return replace(codes, shape=codes.shape.with_style(style))

    @torch.inference_mode()
    def source_features(self, source: Tensor, normal: bool = False) -> list[SourceFeatures]:
        """Each source without its own defect; as it is where it is known to have none: of a product that training has
        not seen, E would take a ring or a printing for one."""
        x = self._ready(source)
        clean = x if normal else self._cleaned(x, self._probability(x) > CLEAR)
        return [SourceFeatures((one.clone(), two.clone())) for one, two in zip(x.split(1), clean.split(1), strict=True)]

    def paint_on(self, sources: Sequence[SourceFeatures], codes: Codes) -> Painted:
        """The defects on sources that were read before."""
        return self._painted(sources, codes, None)

    def paint_placed(self, sources: Sequence[SourceFeatures], codes: Codes, placement: Placement) -> Painted:
        """As :meth:`paint_on`, at places that are allowed as far as there are such; what is left over is cut off."""
        return self._painted(sources, codes, placement)

    @torch.inference_mode()
    def _painted(self, sources: Sequence[SourceFeatures], codes: Codes, placement: Placement | None) -> Painted:
        x, clean = (torch.cat(rows) for rows in zip(*(s.parts for s in sources), strict=True))
        shape, maps, bend = codes.shape, None, None
        kept = torch.ones_like(shape.mask)
        if codes.warps is not None:
            around = F.adaptive_avg_pool2d(clean, CONTEXT)
            maps, bend = fitting(shape, around, codes.warps, self.config.data.flips, placement)
            shape, maps, dropped = put(shape, around, maps, bend, placement)
            kept = 1 - dilated(dropped.to(kept.dtype), 1)
        elif placement is not None:
            shape, maps = enlarge(shape, placement.size)
        if placement is not None:
            shape = shape.within(placement.region)
        style, strength = shape.style, None if placement is None else placement.strength.tolist()
        with self.compute.autocast():
            filled = self.networks.clean(clean, shape.mask).float()
            level = masked_mean(filled, shape.mask).flatten(1)
            if placement is not None:
                shape = shape.with_style(stronger(shape.style, placement.strength))
            image, opacity = paste(clean, filled, shape)
        there = (shape.mask > CLEAR).flatten(1).any(1)
        image = torch.where(there[:, None, None, None], image.float(), clean)
        if placement is not None:
            image, opacity = torch.where(placement.region > 0, image, x), opacity * (placement.region > 0)
        pastings = [
            self.networks.pasting(
                cutout, codes.alike[row], kept[row].cpu(), (clean[row] - x[row]).cpu(),
                style[row].float().cpu(), level[row].float().cpu(),
                HUE if codes.warps is None or codes.alike[row] else 1.0,  # a style of another product is in its colours
                None if maps is None else maps[row].cpu(),
                None if bend is None else BEND * bend[row].cpu(),
                1.0 if strength is None else strength[row],
            ) if cutout is not None and there[row] else None
            for row, cutout in enumerate(codes.cutouts)
        ]  # fmt: skip
        return Painted(image, image - x, opacity.float() * there[:, None, None, None], pastings)

    def paint(self, source: Tensor, codes: Codes) -> Painted:
        """The defects on sources; a source's own defect is taken away."""
        return self.paint_on(self.source_features(source), codes)

    @torch.inference_mode()
    def restore(self, source: Tensor) -> Painted:
        """The sources without their defects, by as much as each place is likely to be one; ``opacity`` is that
        probability."""
        x = self._ready(source)
        probability = self._probability(x)
        filled = self._cleaned(x, probability > DOUBTFUL)
        clean = x + probability * (filled - x)
        return Painted(clean, clean - x, probability)

    def _probability(self, x: Tensor) -> Tensor:
        """(N, 1, S, S) of a defect of any class."""
        with self.compute.autocast():
            return torch.sigmoid(self.networks.encoder(x)).amax(1, keepdim=True)

    def _cleaned(self, x: Tensor, mask: Tensor) -> Tensor:
        if not mask.any():
            return x
        with self.compute.autocast():
            return self.networks.clean(x, mask.float()).float()

    @torch.inference_mode()
    def name_defect(self, image: Tensor) -> Tensor:
        """Class numbers (N,): of the class that E finds most of, 0 where it finds none."""
        with self.compute.autocast():
            return name(self.networks.encoder, self._ready(image))

    def shows(self, image: Tensor, defect: Tensor) -> Tensor:
        """Whether E finds these defects above all others, (N,) booleans."""
        return self.name_defect(image) == defect.to(self.device)

    @torch.inference_mode()
    def assess(self, image: Tensor, defect: Tensor, mask: Tensor) -> Assessment:
        """E's confidence in the classes (N,) beside all others and beside none, and its features, within the masks."""
        x, encoder = self._ready(image), self.networks.encoder
        with self.compute.autocast():
            levels = encoder.features(x)
            found = torch.sigmoid(encoder.from_features(x, levels)) * dilated(mask, 2)
            clearest = clearest_of(found)
        own = (defect.to(self.device) - 1).clamp(min=0)[:, None]
        others = clearest.scatter(1, own, 0.0).amax(1).clamp(min=CLEAR)
        pooled = [masked_mean(level.float(), F.adaptive_avg_pool2d(mask, level.shape[-1])) for level in levels]
        return Assessment(odds(clearest.gather(1, own)[:, 0], others), torch.cat(pooled, dim=1).flatten(1))


def name(encoder: Encoder, x: Tensor) -> Tensor:
    """The class (N,) whose clearest pixels are the clearest; 0 where none is clear."""
    best, number = clearest_of(torch.sigmoid(encoder(x))).max(1)
    return torch.where(best > CLEAR, number + 1, NORMAL)


def clearest_of(found: Tensor) -> Tensor:
    """Probability (N, classes) of the clearest pixels of each class, from maps (N, classes, S, S)."""
    return found.flatten(2).topk(LEAST, dim=2).values.mean(2)
