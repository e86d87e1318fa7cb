"""The anchor domain (section 3.1): the shape code of a normal image is the zero map."""

from __future__ import annotations

from torch import Tensor

from defectaug.methods.adversarial import NORMAL
from defectaug.methods.dtgan.codes import Codes


def anchored(codes: Codes) -> Codes:
    """Sets c to zero in rows of the normal class, whether it came from M or from E."""
    defective = is_defective(codes.defect).to(codes.c.dtype)[:, None, None, None]
    return Codes(codes.c * defective, codes.s, codes.defect)


def anchor_like(codes: Codes) -> Codes:
    """The anchor for a batch: zero maps, its own styles."""
    return Codes(codes.c * 0, codes.s, codes.defect * 0 + NORMAL)


def is_defective(defect: Tensor) -> Tensor:
    """(N,) classes to (N,) booleans."""
    return defect != NORMAL
