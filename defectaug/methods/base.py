"""What training and synthesis know of a method, and the registry by name. Imports no torch.

A method is a folder beside this file with a module that exposes ``SPEC``, a :class:`MethodSpec`; a line in
:data:`METHODS` names that module. It is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from defectaug.data.class_map import ClassMap
from defectaug.data.framing import Framing, Photograph, framing_of
from defectaug.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from defectaug.config.schema import Config
    from defectaug.data.batches import Batch
    from defectaug.data.sample import Category
    from defectaug.device import Compute
    from defectaug.io.windows import Window

    Trainer = Callable[[Config, int, int, Compute, int], "Method"]


# --- Training ---------------------------------------------------------------------------------------------------------


class Method(Protocol):
    """Networks, optimisers and one step; everything that changes is in ``modules`` and ``optimizers``. What has a
    body here a method may leave as it is."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]

    def step(self, batch: Batch, step: int, fraction: float) -> dict[str, float]:
        """One step of all phases; returns the values to be logged.

        Args:
            batch: this process's part of the step's batch.
            step: number of the step, from 0.
            fraction: share of the run that is over, for schedules.

        Raises:
            TrainingError: a value is not finite.
        """
        ...

    def weights(self) -> dict[str, Tensor]:
        """What the bundle keeps: the averaged weights."""
        ...

    def begin_validation(self) -> None:
        """Called once when warm-up ends: fixes what scores are measured with."""

    def places(self, photograph: Photograph, defect: int) -> NDArray[np.float64] | None:
        """Places (N, 2), as shares of height and width, where the defect of a class, at least 1, is by now on a
        training image that is seen in windows; None where nothing better is known than the image says."""
        return None

    def finish(self, image: Callable[[int], Photograph]) -> None:
        """Called when a run ends, before its last weights are written.

        Args:
            image: reads a training image at its native size by its number in the batches; DataError where it cannot.
        """

    def score(self, sources: Batch) -> dict[str, float]:
        """Validation measures; the one called ``score`` is the smaller the better. Without it the last weights are the
        ones to keep."""
        return {}

    def grid(self, examples: Batch) -> Tensor:
        """Sample grid (C, H, W) in [-1, 1], one column an example."""
        ...


# --- Synthesis --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BundleInfo:
    """Facts about a bundle.

    Attributes:
        path: the model folder; ``name`` is its name.
        products, defects: class names in the order of the networks' outputs; the normal class is the first defect.
        image_size, channels: of the networks' inputs.
        white: white level of 16-bit training data, 255 for 8-bit.
        framings: how images of each product are shown to the networks.
        data_root, class_map, normal_name: where the training data was and how its classes were mapped, or None.
        weights_sha256: of ``model.safetensors``.
        references, styles: whether the model can take defects from reference images, and give these other styles.
        holdout: files of the training data, relative to their root, that training has not seen.
        layout, classes: name of the training data's layout, and its class map; says nothing in older bundles.
        sources: whether it paints on images, a :class:`DefectModel`; else it makes whole ones, a
            :class:`GenerativeModel`.
        categories: products and defects that the training images showed.
        native_size: width and height that most training images have; None where that is not known.
    """

    path: Path
    name: str
    products: tuple[str, ...]
    defects: tuple[str, ...]
    image_size: int
    channels: int
    white: int
    framings: Mapping[str, Framing]
    data_root: str | None
    class_map: str | None
    normal_name: str | None
    weights_sha256: str
    references: bool = True
    styles: bool = True
    holdout: tuple[str, ...] = ()
    layout: str = ""
    classes: ClassMap = field(default_factory=ClassMap)
    sources: bool = True
    categories: tuple[Category, ...] = ()
    native_size: tuple[int, int] | None = None

    @property
    def normal(self) -> str:
        """Name of the normal class."""
        return self.defects[0]

    def window(self, product: str | None, size: tuple[int, int]) -> int | None:
        """Side of the windows in which an image of a product, known or not, of (height, width) is shown; None for the
        whole of it."""
        return framing_of(self.framings, product, size).window

    def number(self, product: str | None) -> int:
        """Class number of a product, -1 for one that training has not seen."""
        return self.products.index(product) if product in self.products else -1

    def check_references(self, asked: str) -> None:
        """Refuses references where the model's method has none.

        Args:
            asked: the option or argument that names them.

        Raises:
            ConfigError: it has none.
        """
        if not self.references:
            raise ConfigError(
                f"{asked}: model {self.name} draws defects from latents alone, its method takes none from references; "
                "use synthesize without --reference, or a model of another recipe."
            )

    def check_styles(self, asked: str) -> None:
        """Refuses other styles of one shape where the model's method does not part the two.

        Args:
            asked: the option or argument that asks for them.

        Raises:
            ConfigError: it does not.
        """
        if not self.styles:
            raise ConfigError(f"{asked}: model {self.name} knows no styles apart from shapes; leave it out.")


class NativeChange(Protocol):
    """One painted defect at the scale of the photograph."""

    def part(self, size: tuple[int, int]) -> Window:
        """What changes of a view of that height and width; it may reach beyond the view."""
        ...

    def __call__(
        self, pixels: NDArray[np.float32], part: Window, size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The change (h, w, C), for the view's pixels (h, w, C) of that part, in [-1, 1], and where in it the defect
        is, (h, w) in [0, 1]; what surrounds it may change, too."""
        ...


@dataclass(frozen=True)
class Painted:
    """Result of painting: ``image`` (N, C, S, S) in [-1, 1]; ``delta`` (N, C, S, S), what has to be added to the
    source; ``opacity`` (N, 1, S, S) in [0, 1] of the painted defect; ``native`` (N of them, or none) what is known of
    defects beyond the model's size, to be used in place of the enlarged ``delta``."""

    image: Tensor
    delta: Tensor
    opacity: Tensor
    native: Sequence[NativeChange | None] = ()

    def changes(self) -> Sequence[NativeChange | None]:
        """``native``, None where there is nothing of that kind."""
        return self.native or [None] * len(self.delta)


@dataclass(frozen=True)
class SourceFeatures:
    """What a model computes from one source image, to paint on it any number of times: tensors (1, ...), whose meaning
    is the model's own."""

    parts: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return sum(part.numel() * part.element_size() for part in self.parts)


class Codes(Protocol):
    """A batch of N defects as a model represents them, with their classes ``defect`` (N,)."""

    @property
    def defect(self) -> Tensor: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Tensor) -> Codes: ...


class DefectModel(Protocol):
    """A trained model. Images are (N, C, S, S) in [-1, 1], classes (N,) numbers into ``info.defects``; codes are those
    that the same model has given."""

    @property
    def info(self) -> BundleInfo:
        """Facts about the bundle."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        ...

    def latent_codes(self, defect: Tensor, seeds: Sequence[int], product: Tensor | None = None) -> Codes:
        """Codes of classes (N,) from latents; each depends on its own seed alone.

        Args:
            product: numbers (N,) of the products they are for, -1 for one that is not known.
        """
        ...

    def reference_codes(
        self,
        image: Tensor,
        defect: Tensor,
        photographs: Sequence[Photograph] | None = None,
        alike: Sequence[bool] | None = None,
    ) -> Codes:
        """Codes of the defects that the images show.

        Args:
            photographs: the same N images at a larger scale, for models that look closer.
            alike: whether each shows the product that its defect is meant for; None: all do.
        """
        ...

    def with_style(self, codes: Any, seeds: Sequence[int]) -> Codes:
        """The same shapes in latent styles."""
        ...

    def source_features(self, source: Tensor, normal: bool = False) -> list[SourceFeatures]:
        """Features of each source, the larger part of the work of painting on it.

        Args:
            normal: whether the sources are known to show no defect: models that take a source's own away then leave it
                as it is.
        """
        ...

    def paint_on(self, sources: Sequence[SourceFeatures], codes: Any) -> Painted:
        """:meth:`paint` on sources whose features are there, as many as there are codes."""
        ...

    def paint(self, source: Tensor, codes: Any) -> Painted:
        """Paints a defect on every source; a source's own defect is taken away."""
        ...

    def restore(self, source: Tensor) -> Painted:
        """Takes the defect away: G(x, anchor)."""
        ...

    def name_defect(self, image: Tensor) -> Tensor:
        """Class numbers of the defects that the images show."""
        ...

    def shows(self, image: Tensor, defect: Tensor) -> Tensor:
        """Whether the images show these defects, (N,) booleans, as far as the model can tell."""
        ...


@runtime_checkable
class GenerativeModel(Protocol):
    """A trained model that makes whole images from noise: it paints on none, and knows no masks."""

    @property
    def info(self) -> BundleInfo:
        """Facts about the bundle; :attr:`BundleInfo.sources` is False."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        ...

    def images(self, product: Tensor, defect: Tensor, seeds: Sequence[int]) -> Tensor:
        """Images (N, C, S, S) in [-1, 1] of products and defects (N,), numbers into ``info.products`` and
        ``info.defects``; each depends on its own seed alone."""
        ...


Model = DefectModel | GenerativeModel


# --- Registry ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MethodSpec:
    """How a method is made.

    Attributes:
        train: fresh networks and optimisers from (config, defect classes with the normal one, products, compute, seed),
            the seed being that of the initial weights and of every step's random numbers. None: models are read alone.
        model: a trained model from (config, info, networks with its weights, compute).
        networks: the module whose ``state_dict`` a bundle holds, from (config, defect classes, products). A bundle's
            shapes are compared with it on the meta device, before either takes memory.
        references, styles: whether its models can take defects from reference images, and give these other styles.
        unsized: entries of the bundle of any length, which may be missing.
        retired: what the names of entries of older bundles begin with that nothing uses any more.
        sources: whether its models paint on images; else they make whole ones.
    """

    train: Trainer | None
    model: Callable[[Config, BundleInfo, Any, Compute], Model]
    networks: Callable[[Config, int, int], nn.Module]
    references: bool = True
    styles: bool = True
    unsized: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    sources: bool = True

    def load(self, config: Config, info: BundleInfo, weights: Mapping[str, Tensor], compute: Compute) -> Model:
        """The trained model of a bundle's weights.

        Raises:
            RuntimeError: the weights do not fit.
        """
        import torch

        networks = self.networks(config, len(info.defects), len(info.products))
        networks.load_state_dict({name: one for name, one in weights.items() if not name.startswith(self.retired)})
        networks.eval().requires_grad_(False)
        networks.to(compute.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.model(config, info, networks, compute)


METHODS = {
    "biggan": "defectaug.methods.biggan.spec",
    "cutpaste": "defectaug.methods.cutpaste.spec",
    "defectgan": "defectaug.methods.defectgan.spec",
    "dtgan": "defectaug.methods.dtgan.spec",
    "layered": "defectaug.methods.layered.spec",
    "mokady": "defectaug.methods.mokady.spec",
    "residual": "defectaug.methods.residual.spec",
    "stylegan2": "defectaug.methods.stylegan2.spec",
}
"""Method to the module that exposes its ``SPEC``."""


def check_method(name: str) -> str:
    """The name of a method; a ConfigError that lists the known ones, where there is none of that name."""
    if name not in METHODS:
        raise ConfigError(f"method is '{name}'; it must be one of {', '.join(sorted(METHODS))}.")
    return name


def method_spec(name: str) -> MethodSpec:
    """How the method of that name is made; errors as of :func:`check_method`."""
    spec: MethodSpec = import_module(METHODS[check_method(name)]).SPEC
    return spec


def trainer(name: str) -> Trainer:
    """What trains the method of that name.

    Raises:
        ConfigError: no method of that name, or one that is no longer trained.
    """
    if (train := method_spec(name).train) is None:
        raise ConfigError(f"method '{name}' is no longer trained, but its models are still read; take --preset small.")
    return train
