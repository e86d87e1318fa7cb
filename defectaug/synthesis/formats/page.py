"""One page to look the images through: thumbnails, outlines of the masks, and a list of those that a person rejects.

The page holds what it tells of the images; their thumbnails lie in a folder beside it, and are loaded as they come into
view.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from defectaug.io.images import picture, read_image, resize_float
from defectaug.io.regions import regions
from defectaug.synthesis.formats.finished import Entry, Finished

TEMPLATE = "page.html.j2"
MARK = '<meta name="generator" content="defectaug synthesize">'
LIST = "rejected.txt"
SIDE = 160  # longest side of a thumbnail, pixels
QUALITY = 88  # of JPEG
COVERED = 0.4  # CHOICE: share of a thumbnail's pixel that the defect must cover to be drawn
FACTS = ("score", "strength", "size", "guide", "area", "index", "item_seed", "redraws")


def thumbnails_of(report: Path) -> Path:
    """The folder beside a page that holds its thumbnails."""
    return report.with_name(f"{report.stem}.thumbnails")


def write_page(finished: Finished, report: Path, thumbnails: Path) -> bytes:
    """The page's content; its thumbnails are written.

    Args:
        finished: the output folder.
        report: where the page will be, from where it leads to the images.
        thumbnails: an empty folder to fill, which will be that of `thumbnails_of`.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    thumbnails.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(4) as pool:
        made = [entry for entry in finished.entries if entry.line.get("synthetic")]
        images = list(pool.map(lambda entry: _shown(entry, finished.white, report, thumbnails), made))
    environment = Environment(
        loader=PackageLoader("defectaug.synthesis.formats", ""), autoescape=True, undefined=StrictUndefined
    )
    data = {
        "images": images,
        "id": "defectaug " + hashlib.sha256(os.fsencode(finished.out.absolute())).hexdigest()[:16],
        "list": LIST,
        "command": f"defectaug synthesize --drop {LIST} --out {shlex.quote(str(finished.out))}",
    }
    page = environment.get_template(TEMPLATE)
    return page.render(title=finished.out.name, mark=Markup(MARK), data=data).encode()


def is_page(path: Path) -> bool:
    """Whether a file is a page of ours."""
    with path.open("rb") as file:
        return MARK.encode() in file.read(1000)


def _shown(entry: Entry, white: int, report: Path, thumbnails: Path) -> dict[str, Any]:
    """What the page knows of an image, whose thumbnail is written."""
    small = picture(read_image(entry.path), SIDE, white)
    name = f"{entry.line['index']:07d}.jpg"
    _save_jpeg(small, thumbnails / name)
    height, width = small.shape[:2]
    shown = {
        "file": str(entry.line["file"]),
        "product": entry.product,
        "defect": entry.defect,
        "score": entry.line.get("score"),
        "width": width,
        "height": height,
        "outline": _path(_shrunk(entry.mask(), (height, width))),
        "thumb": quote(f"{thumbnails_of(report).name}/{name}", errors="surrogateescape"),
        "url": _way(entry.path, report),
        "facts": [*_facts(entry)],
    }
    for kind in ("source", "reference"):
        if entry.line.get(kind):
            path = Path(entry.line[kind])
            shown |= {kind: _way(path, report), f"{kind}Name": path.name}
    return shown


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    """Names and values that the large view lists."""
    accepted = entry.line.get("accepted")
    if accepted is not None:
        yield "accepted", "yes" if accepted is True else str(accepted)
    for name in FACTS:
        value = entry.line.get(name)
        if value is not None:
            yield name, f"{value:.4g}" if isinstance(value, float) else str(value)
    yield "defects", str(len(entry.line.get("boxes") or ()))
    for name in ("source", "reference"):
        yield name, str(entry.line.get(name) or "none")


def _save_jpeg(pixels: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, quality=QUALITY)


def _shrunk(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at a thumbnail's size; what is there at all stays to be seen."""
    covered = resize_float(mask, size)
    return covered > min(COVERED, float(covered.max(initial=0)) / 2)


def _path(mask: NDArray[np.bool_]) -> str:
    """The outlines of a mask as an SVG path: level and upright steps in turn."""
    parts = []
    for region in regions(mask):
        for ring in region.outline():
            (x, y), *others = [(int(x), int(y)) for x, y in ring]
            steps = [f"M{x} {y}"]
            for to_x, to_y in others:
                steps.append(f"h{to_x - x}" if to_y == y else f"v{to_y - y}")
                x, y = to_x, to_y
            parts.append("".join(steps) + "z")
    return "".join(parts)


def _way(path: Path, report: Path) -> str:
    """The link from the page to a file; an absolute one where no other leads there."""
    try:
        way = os.path.relpath(path, report.parent)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return quote(Path(way).as_posix(), errors="surrogateescape")

