"""Features of images, by an extractor that can be replaced, and distances of pairs of images.

EfficientNet-Lite1, whose weights are installed along; Inception-v3 and LPIPS where theirs can be had. A further
extractor is a class that follows :class:`Extractor`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from defectaug.errors import ConfigError
from defectaug.io.progress import Log
from defectaug.metrics.context import ArrayCache, digest
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.images import ImageSet, ImageStore, colour_tensor
from defectaug.nn.backbones import FrozenLite, frozen_lite
from defectaug.nn.weights import MissingWeights, Published, WeightsFile, alexnet, inception, require

BATCH = 32
T = TypeVar("T")
LITE_SIDE = LPIPS_SIDE = 128


class Extractor(Protocol):
    """From images to features.

    Attributes:
        name: what the features are, for people.
        size: length D of a feature vector.
        resize: how images are brought to the network's size.
        weights: sha256 of the weights.
    """

    name: str
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


class LiteFeatures:
    """The mean of each channel of EfficientNet-Lite1's last layer, the network that classifiers start from, too."""

    name = "EfficientNet-Lite1, last layer (ImageNet)"
    frechet = "Fréchet distance of EfficientNet-Lite1 features"
    kernel = "kernel distance of EfficientNet-Lite1 features"
    size = FrozenLite.maps[-1]
    resize = f"antialiased bilinear to {LITE_SIDE} x {LITE_SIDE}"

    def __init__(self, file: WeightsFile, device: torch.device | str = "cpu") -> None:
        self.weights = file.sha256
        self._device = torch.device(device)
        self._network = frozen_lite(file).to(self._device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        return self._rows(self._network.levels(resized(images.to(self._device), LITE_SIDE))).cpu().numpy()

    def _rows(self, levels: Sequence[Tensor]) -> Tensor:
        return levels[-1].mean((2, 3))


class LiteMaps(LiteFeatures):
    """Maps of three stages, which pairs are compared by as in LPIPS (Zhang et al., 2018, eq. 1), all weights being one:
    channels are normalised at each place, and the squared distance of two rows is the sum over stages of the mean over
    places."""

    name = "EfficientNet-Lite1 map distance"
    stages = ((2, 16), (4, 8), (6, 4))
    """Numbers of the stages, and sides of their maps."""
    size = sum(FrozenLite.maps[stage] * side**2 for stage, side in stages)

    def _rows(self, levels: Sequence[Tensor]) -> Tensor:
        return torch.cat([F.normalize(levels[stage], dim=1).flatten(1) / side for stage, side in self.stages], 1)


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


def find_inception(given: Path | None, device: torch.device, log: Log) -> Inception | None:
    """Inception-v3 where its weights can be had; None where not, which is logged.

    Raises:
        ConfigError: `given` is not there or cannot be used.
    """
    without = f"no FID and KID: distances are of {LiteFeatures.name} alone, not comparable with these"
    return _found(Inception, inception(), without, given, device, log)


def find_lpips(given: Path | None, device: torch.device, log: Log) -> Lpips | None:
    """LPIPS, as :func:`find_inception`."""
    without = f"no LPIPS: pairs are compared by {LiteMaps.name} alone, not comparable with it"
    return _found(Lpips, alexnet(), without, given, device, log)


def _found(
    build: Callable[[WeightsFile, torch.device], T],
    kind: Published,
    without: str,
    given: Path | None,
    device: torch.device,
    log: Log,
) -> T | None:
    try:
        return build(require(kind, given), device)
    except MissingWeights as error:
        log(f"{error}; {without}")
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

    def of(self, images: ImageSet) -> NDArray[np.float32]:
        """Features (N, D) in the order of the images."""
        numbers = {one.pixel_hash: number for number, one in enumerate(images.statistics)}
        missing = sorted((images.statistics[n].size, key, n) for key, n in numbers.items() if key not in self._rows)
        for _, group in groupby(missing, key=lambda entry: entry[0]):  # a batch holds images of one size
            same = list(group)
            for batch in (same[start : start + BATCH] for start in range(0, len(same), BATCH)):
                records = [images.records[n] for _, _, n in batch]
                self._add(torch.stack(load(records, self._store, self._white)), [key for _, key, _ in batch])
        return self._stacked(images.pixel_hashes)

    def of_pixels(self, images: Tensor) -> NDArray[np.float32]:
        """Features (N, D) of uint8 images (N, 3, H, W)."""
        keys = [hashlib.sha256(image.numpy().tobytes()).hexdigest()[:32] for image in images]
        numbers = {key: number for number, key in enumerate(keys) if key not in self._rows}
        for start in range(0, len(numbers), BATCH):
            batch = list(numbers)[start : start + BATCH]
            self._add(images[[numbers[key] for key in batch]], batch)
        return self._stacked(keys)

    def _add(self, images: Tensor, keys: list[str]) -> None:
        rows = self.extractor(images)
        self._rows |= dict(zip(keys, rows, strict=True))
        self._cache.keep(self._kind, keys, rows)

    def _stacked(self, keys: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._rows[key] for key in keys]) if keys else np.zeros((0, self.extractor.size), np.float32)


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
