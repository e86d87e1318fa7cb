"""Sections as one HTML file that opens offline: tables, plots as inline SVG, images inside the file. No torch."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from defectaug.errors import DataError
from defectaug.io.images import NativeImage, picture, read_image
from defectaug.reporting.sections import Image, Interval, PictureRow, Section, Value, show

TEMPLATE = "page.html.j2"
MARK = '<meta name="generator" content="defectaug evaluate">'
SIDE = 160  # longest side of an image in the report, pixels
QUALITY = 92  # of JPEG: a defect shows as it is, and the page is a third as large as with PNG alone


def as_html(title: str, sections: Sequence[Section], about: Sequence[tuple[str, str]], white: int = 65535) -> str:
    """The report.

    Args:
        title: heading of the page.
        sections: what to show; the verdicts come first.
        about: how it was measured: names and values, shown last, after what the sections tell of it.
        white: level of 16-bit images that is shown white.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("defectaug.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,  # by which a page that is whole is known
    )
    environment.filters |= {"parts": _parts, "labelled": partial(_labelled, white=white)}
    method = dict.fromkeys(pair for section in sections for pair in section.method)  # sets share most of it
    page = environment.get_template(TEMPLATE)
    return page.render(title=title, mark=MARK, sections=sections, facts=[*method, *about])


def _parts(value: Value) -> list[str]:
    """What is not broken into lines: the whole, or an estimate and its interval."""
    return show(value).split(" ", 1) if isinstance(value, Interval) else [show(value)]


def _labelled(row: PictureRow, white: int) -> Iterator[tuple[str, str | dict[str, str]]]:
    """Label and image, as what `img` takes, of each; instead of one that cannot be read the reason."""
    labels = [*row.labels, *[""] * (len(row.images) - len(row.labels))]
    for label, image in zip(labels, row.images, strict=True):
        try:
            name = image.name if isinstance(image, Path) else "image"
            yield label, {"alt": label or name, "src": _data_url(image, white)}
        except DataError as error:
            yield label, str(error)


def _data_url(image: Image, white: int) -> str:
    """An image as PNG or JPEG, whichever is smaller, at most SIDE pixels wide and high.

    Raises:
        DataError: the file cannot be read.
    """
    from PIL import Image as PillowImage

    native = read_image(image) if isinstance(image, Path) else NativeImage(image)
    small = PillowImage.fromarray(picture(native, SIDE, white))
    png, jpeg = io.BytesIO(), io.BytesIO()
    small.save(png, format="PNG", optimize=True)
    small.save(jpeg, format="JPEG", quality=QUALITY, subsampling=0)
    kind, content = min(("png", png.getvalue()), ("jpeg", jpeg.getvalue()), key=lambda one: len(one[1]))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
