"""Features of images, by an extractor that can be replaced, and distances of pairs of images.

Inception-v3 and LPIPS where their weights can be had, else filters that need none. A further extractor is a class that
follows :class:`Extractor`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from defectaug.errors import ConfigError
from defectaug.metrics.context import ArrayCache, digest
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.images import ImageSet, ImageStore, Log, Progress, colour_tensor
from defectaug.nn.weights import MissingWeights, WeightsFile, alexnet, inception, require

BATCH = 32
FILTER_SIDE = 128
LPIPS_SIDE = 128
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
DIM = 0.5 / 255  # half a grey level: a response below it is as good as none


class Extractor(Protocol):
    """From images to features.

    Attributes:
        name: what the features are, for people.
        frechet, kernel: what their distances are called: FID and KID for the standard extractor alone.
        size: length D of a feature vector.
        resize: how images are brought to the network's size.
        weights: sha256 of the weights, or of the filters.
    """

    name: str
    frechet: str
    kernel: str
    size: int
    resize: str
    weights: str

    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        """Features (N, D) of uint8 images (N, 3, H, W)."""
        ...


class Inception:
    """The pooled features of torch-fidelity's Inception-v3, a port of the network that FID was published with."""

    name = "Inception-v3, pool3 (torch-fidelity)"
    frechet, kernel = "FID", "KID"
    size = 2048
    resize = "TensorFlow 1 bilinear to 299 x 299, not antialiased"

    def __init__(self, file: WeightsFile, device: torch.device | str = "cpu") -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self.weights = file.sha256
        self._device = torch.device(device)
        try:
            self._network = FeatureExtractorInceptionV3(
                "inception-v3-compat", [str(self.size)], feature_extractor_weights_path=str(file.path)
            ).to(self._device)
        except (RuntimeError, KeyError) as error:
            raise ConfigError(f"--weights {file.path}: are not Inception-v3's as torch-fidelity has them") from error

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        return self._network(images.to(self._device))[0].float().cpu().numpy()


class Filters:
    """Strengths of lines and edges at four scales: fixed filters, nothing learnt.

    Lines in four directions and edges in two (derivatives of a Gaussian), on the grey image and its halves, quarters
    and eighths. Of each response the mean size and the fourth-power means of its bright and dark parts are kept, the
    latter because a defect is small and strong; with mean and deviation of brightness and the mean tint. All but the
    tint are logarithms, 0 for none and 1 for black against white, so that faint structures weigh as strong ones do.
    """

    name = "responses of line and edge filters"
    frechet, kernel = "Fréchet distance of filter responses", "kernel distance of filter responses"
    resize = f"antialiased bilinear to {FILTER_SIDE} x {FILTER_SIDE}"
    octaves = 4

    def __init__(self) -> None:
        self._bank = _line_and_edge_filters()  # (6, 1, 7, 7)
        self.size = 3 * len(self._bank) * self.octaves + 4
        self.weights = hashlib.sha256(self._bank.numpy().tobytes()).hexdigest()

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        colour = resized(images, FILTER_SIDE)
        grey = (colour * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        light = grey.mean((1, 2, 3))
        columns = [_scaled(light), _scaled(grey.std((1, 2, 3)))]
        columns += [colour[:, channel].mean((1, 2)) - light for channel in (0, 2)]
        for _ in range(self.octaves):
            responses = F.conv2d(F.pad(grey, (3, 3, 3, 3), mode="reflect"), self._bank)
            sizes = [responses.abs().mean((2, 3))]
            sizes += [part.clamp(min=0).pow(4).mean((2, 3)).pow(0.25) for part in (responses, -responses)]
            columns += [column for size in sizes for column in _scaled(size).unbind(1)]
            grey = F.avg_pool2d(grey, 2)
        return torch.stack(columns, 1).float().numpy()


class Lpips:
    """How different two images are to the eye: LPIPS 0.1 with AlexNet (Zhang et al., 2018), as torchmetrics has it."""

    name = "LPIPS"
    side = LPIPS_SIDE
    resize = f"antialiased bilinear to {LPIPS_SIDE} x {LPIPS_SIDE}"

    def __init__(self, file: WeightsFile, device: torch.device | str = "cpu") -> None:
        # The public class takes no file of weights, it fetches them: so this private one, and torchmetrics is pinned
        from torchmetrics.functional.image.lpips import _LPIPS

        self.weights = file.sha256
        self._device = torch.device(device)
        network = _LPIPS(pretrained=True, net="alex", pnet_rand=True)  # its linear layers come with torchmetrics
        state = file.state()
        backbone = network.net.state_dict()
        # "slice2.3.weight" there is AlexNet's "features.3.weight"
        renamed = {key: state.get("features." + key.split(".", 1)[1]) for key in backbone}
        if any(value is None or value.shape != backbone[key].shape for key, value in renamed.items()):
            raise ConfigError(f"--weights {file.path}: are not AlexNet's as torchvision has them")
        network.net.load_state_dict(renamed)
        self._network = network.to(self._device)

    @torch.inference_mode()
    def __call__(self, a: Tensor, b: Tensor) -> NDArray[np.float32]:
        """Distances (N,) of uint8 images (N, 3, side, side)."""
        scaled = [images.to(self._device).float() / 255 for images in (a, b)]
        return self._network(*scaled, normalize=True).flatten().cpu().numpy()


def find_extractor(given: Path | None, device: torch.device, log: Log, *, network: bool = True) -> Extractor:
    """Inception-v3 where its weights can be had, else the filters, which is logged.

    Raises:
        ConfigError: `given` is not there or cannot be used.
    """
    try:
        return Inception(require(inception(), given, network=network), device)
    except MissingWeights as error:
        log(f"{error}; instead of FID and KID come distances of {Filters.name}, which are others")
        return Filters()


def find_pair_measure(given: Path | None, device: torch.device, log: Log, *, network: bool = True) -> Lpips | None:
    """LPIPS where its weights can be had; None where not, which is logged.

    Raises:
        ConfigError: as :func:`find_extractor`.
    """
    try:
        return Lpips(require(alexnet(), given, network=network), device)
    except MissingWeights as error:
        log(f"{error}; instead of LPIPS comes the mean distance of the features of pairs, which is another")
        return None


class FeatureCache:
    """Features of images by the hash of their pixels: each image is shown to the extractor once, over all runs.

    Args:
        extractor: makes them.
        cache: keeps them, after every batch.
        store: decodes the images.
        white: white level of 16-bit images.
    """

    def __init__(
        self, extractor: Extractor, cache: ArrayCache, store: ImageStore | None = None, white: int = 255
    ) -> None:
        self.extractor = extractor
        self._cache, self._store, self._white = cache, store or ImageStore(), white
        self._kind = f"features-{digest([extractor.name, extractor.weights, extractor.resize, white])}"
        self._rows = cache.rows(self._kind)

    def of(self, images: ImageSet, progress: Progress | None = None) -> NDArray[np.float32]:
        """Features (N, D) in the order of the images."""
        numbers = {one.pixel_hash: number for number, one in enumerate(images.statistics)}
        missing = sorted((images.statistics[n].size, key, n) for key, n in numbers.items() if key not in self._rows)
        done = len(numbers) - len(missing)
        for _, group in groupby(missing, key=lambda entry: entry[0]):  # a batch holds images of one size
            same = list(group)
            for batch in (same[start : start + BATCH] for start in range(0, len(same), BATCH)):
                if progress:
                    progress(done, len(numbers))
                self._add([images.records[n] for _, _, n in batch], [key for _, key, _ in batch])
                done += len(batch)
        if progress and missing:
            progress(done, len(numbers))
        empty = np.zeros((0, self.extractor.size), np.float32)
        return np.stack([self._rows[key] for key in images.pixel_hashes]) if len(images) else empty

    def _add(self, records: Sequence[ImageRecord], keys: list[str]) -> None:
        rows = self.extractor(torch.stack(load(records, self._store, self._white)))
        self._rows |= dict(zip(keys, rows, strict=True))
        self._cache.keep(self._kind, keys, rows)


def load(records: Sequence[ImageRecord], store: ImageStore, white: int = 255) -> list[Tensor]:
    """Images as uint8 colour tensors (3, H, W) of their own sizes.

    Raises:
        DataError: one of them cannot be read any more.
    """
    return store.all(records, lambda image: colour_tensor(image, white))


def resized(images: Tensor, side: int) -> Tensor:
    """uint8 (N, 3, H, W) as floats (N, 3, side, side) in [0, 1]."""
    values = images.float() / 255
    if values.shape[-2:] == (side, side):
        return values
    return F.interpolate(values, (side, side), mode="bilinear", antialias=True, align_corners=False)


def _scaled(sizes: Tensor) -> Tensor:
    """Sizes of 0 to 1 on a logarithmic scale of 0 to 1."""
    return torch.log1p(sizes / DIM) / math.log1p(1 / DIM)


def _line_and_edge_filters(deviation: float = 1.2, reach: int = 3) -> Tensor:
    """Second derivatives of a Gaussian in four directions, first ones in two: (6, 1, 7, 7), absolute sum 1 each."""
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1, dtype=torch.float64)] * 2, indexing="ij")
    bell = torch.exp(-(x * x + y * y) / (2 * deviation**2))
    along = [x * math.cos(turn) + y * math.sin(turn) for turn in (k * math.pi / 4 for k in range(4))]
    kernels = [(1 - (u / deviation) ** 2) * bell for u in along] + [u * bell for u in along[::2]]
    kernels = [kernel - kernel.mean() for kernel in kernels]
    return torch.stack([kernel / kernel.abs().sum() for kernel in kernels])[:, None].float()
