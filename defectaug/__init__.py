"""Learns defects across products from folder labels alone and paints them on normal images (DT-GAN).

The public functions are loaded on first use, so that ``import defectaug`` (and every ``--help``) imports no
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defectaug.bundle import load_model
    from defectaug.reporting.api import evaluate
    from defectaug.synthesis.api import synthesize
    from defectaug.synthesis.augment import DefectAugment
    from defectaug.synthesis.transfer import transfer
    from defectaug.training.api import train

__version__ = "0.1.0"
__all__ = ["DefectAugment", "__version__", "evaluate", "load_model", "synthesize", "train", "transfer"]

_HOMES = {
    "train": "defectaug.training.api",
    "synthesize": "defectaug.synthesis.api",
    "DefectAugment": "defectaug.synthesis.augment",
    "transfer": "defectaug.synthesis.transfer",
    "evaluate": "defectaug.reporting.api",
    "load_model": "defectaug.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'defectaug' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
