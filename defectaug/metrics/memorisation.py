"""Memorisation and leakage: copies, near-duplicates and copied defects, with the nearest real images side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from defectaug.data.near_duplicates import NEAR_DUPLICATE, THUMBNAIL, Match
from defectaug.metrics.changes import Painting
from defectaug.metrics.context import Scene, cell_name
from defectaug.metrics.copied_defects import SAME_DEFECT, repeated_defects
from defectaug.metrics.distances import squared
from defectaug.metrics.features import FeatureStore
from defectaug.metrics.image_statistics import ImageSet
from defectaug.metrics.neighbours import (
    Neighbour,
    Region,
    Twin,
    near_duplicates,
    neighbours,
    yardstick,
)
from defectaug.reporting.plots import histogram
from defectaug.reporting.sections import Figure, Finding, PictureRow, Pictures, Section, Table, Value

SHOWN = 12  # rows of pictures
SAMPLE = 2  # of these of pairs between synthetic sets


@dataclass(frozen=True)
class Memory:
    """What one synthetic set repeats.

    Args:
        images: defect images looked at.
        exact: those with the very pixels of a real image.
        copies: those that repeat a real defective image, exact or nearly so, also shifted or mirrored.
        unchanged: those without a visible difference from a normal image.
        same_defect: those whose defect repeats a real one on another background; None without masks of both.
        by_reference: those of `same_defect` that repeat the very reference they were asked to follow.
        same_defect_real: share of real defects that repeat another real one's as much; the yardstick.
        twins_within: pairs alike within the set.
    """

    images: int
    exact: int
    copies: int
    unchanged: int
    same_defect: int | None
    by_reference: int
    same_defect_real: float | None
    twins_within: int


def memorisation(
    scene: Scene, store: FeatureStore | None, known: Sequence[Sequence[Painting | None]]
) -> tuple[list[Section], list[list[Neighbour]]]:
    """A section for near-duplicates between the sets, and one for each synthetic set; with what they rest on.

    Args:
        scene: what is evaluated.
        store: features for distances; None leaves these out.
        known: of each set's pictures how they differ from their sources.
    """
    defects = [made.where(scene.is_defective) for made in scene.synthetic]
    marks = yardstick(scene)
    found: list[list[Neighbour]] = []
    regions: list[list[Region]] = []
    for made, rows in zip(scene.synthetic, known, strict=True):
        near, where = neighbours(scene, made, rows, scene.stage(f"neighbours of {made.name}"))
        found.append(near)
        regions.append(where)
    sets = [scene.real, *([scene.test] if scene.test else []), *scene.synthetic]
    blank: list[list[Region]] = [[None] * len(one) for one in sets[: len(sets) - len(regions)]]
    twins = near_duplicates(scene, sets, [*blank, *regions])
    offset = len(blank)
    sections = [_between(sets, twins, len(regions))]
    for k, made in enumerate(scene.synthetic):
        kept = [n for n, picture in enumerate(made.records) if scene.is_defective(picture)]
        within = sum(twin.first[0] == twin.second[0] == k + offset for twin in twins)
        sections.append(_section(scene, defects[k], [found[k][n] for n in kept], marks, within, store))
    return sections, found


def _between(sets: Sequence[ImageSet], twins: Sequence[Twin], made: int) -> Section:
    """Pairs of pictures that are alike, counted for each pair of sets; the last `made` sets are synthetic."""
    counts = Counter((twin.first[0], twin.second[0]) for twin in twins)
    rows: list[list[Value]] = []
    for a, first in enumerate(sets):
        for b, second in enumerate(sets[a:], a):
            same = _same_pixels(first, second) if a != b else len(first) - len(set(first.prints))
            rows.append([first.name, "itself" if a == b else second.name, same, counts[a, b]])
    real = len(sets) - made  # the real and the held-out images come first
    order = sorted(twins, key=lambda t: (_kind(t, real), -t.likeness, t.first, t.second))
    # Two synthetic sets of one model and seed are the same images: no reason to show them all
    shown = [t for t in order if _kind(t, real) < 3][:SHOWN] + [t for t in order if _kind(t, real) == 3][:SAMPLE]
    pictures = [
        PictureRow(
            f"{sets[t.first[0]].records[t.first[1]].path} and {sets[t.second[0]].records[t.second[1]].path}",
            [sets[k].records[n].path for k, n in (t.first, t.second)],
            ["", f"likeness {t.likeness:.2f}"],
        )
        for t in shown
    ]
    kinds = Counter(_kind(twin, real) for twin in twins)
    lines = [f"{_pairs(kinds[0])} between synthetic and real images."] if made else []
    if real > 1:
        lines.append(f"{_pairs(kinds[1])} between the held-out images and those of {sets[0].name}.")
    lines.append(f"{_pairs(kinds[2])} within one set.")
    if made > 1:
        why = " (sets that one model has made with one seed hold the same images)" if kinds[3] else ""
        lines.append(f"{_pairs(kinds[3])} between the synthetic sets{why}.")
    return Section(
        "Near-duplicates",
        lines=lines,
        tables=[
            Table(
                "Within and between the sets",
                ["set", "and", "same pixels", "near-duplicate pairs"],
                rows,
                note=f"Pairs of one product and defect whose pictures correlate by {NEAR_DUPLICATE} or more, shifts "
                "and mirrors included, once the product's mean picture and slow changes of brightness are taken away; "
                "where an image was painted on, that place must be alike by itself.",
            )
        ],
        pictures=[Pictures("The most alike pairs", pictures)] if pictures else [],
        numbers={"threshold": NEAR_DUPLICATE, "pairs": [_named_twin(sets, twin) for twin in twins]},
    )


def _kind(twin: Twin, real: int) -> int:
    """Synthetic against real or held-out 0, real against held-out 1, within a set 2, between synthetic sets 3."""
    first, second = twin.first[0], twin.second[0]
    if first == second:
        return 2
    return 3 if first >= real else 1 if second < real else 0


def _pairs(count: int) -> str:
    return f"{count:,} pair{'s' * (count != 1)} of near-duplicates" if count else "No near-duplicates"


def _same_pixels(first: ImageSet, second: ImageSet) -> int:
    known = set(first.prints)
    return sum(one in known for one in second.prints)


def _named_twin(sets: Sequence[ImageSet], twin: Twin) -> dict[str, object]:
    names = [str(sets[k].records[n].path) for k, n in (twin.first, twin.second)]
    return {"files": names, "likeness": twin.likeness}


def _section(
    scene: Scene, made: ImageSet, near: list[Neighbour], marks: list[Match], within: int, store: FeatureStore | None
) -> Section:
    title = f"Memorisation: {made.name}"
    if not len(made):
        return Section(title, lines=[f"{made.name} holds no defect images."])
    exact = set(scene.real.prints)
    defects = repeated_defects(scene, made)
    memory = Memory(
        images=len(made),
        exact=sum(one in exact for one in made.prints),
        copies=sum(one.is_copy for one in near),
        unchanged=sum(one.unchanged for one in near),
        same_defect=None if defects is None else int(defects.same.sum()),
        by_reference=0 if defects is None else int((defects.same & defects.own).sum()),
        same_defect_real=None if defects is None else defects.real_share,
        twins_within=within,
    )
    closeness = {"synthetic": [one.defective.similarity for one in near], "real": [m.similarity for m in marks]}
    names = _series(scene)
    figures = [
        Figure(
            f"How like the nearest defective image of {scene.real.name}",
            histogram(
                {names[key]: values for key, values in closeness.items()},
                x_label="likeness (correlation), 1 for a copy",
                mark=(NEAR_DUPLICATE, "copies from here on"),
            ),
            "Memorised images would lie farther to the right than real ones do.",
        )
    ]
    tables = [_table(made, near, marks)]
    distances = _feature_distances(scene, made, store) if store is not None else None
    if distances is not None and store is not None:
        figures.append(
            Figure(
                f"How far from the nearest defective image of {scene.real.name}",
                histogram(
                    {names[key]: values for key, values in distances.items()},
                    x_label=f"Euclidean distance of features ({store.extractor.name})",
                ),
                "Memorised images would lie farther to the left than real ones do.",
            )
        )
    return Section(
        title,
        lines=_lines(memory, made.name),
        warnings=_warnings(memory, near),
        tables=tables,
        figures=figures,
        pictures=[_pictures(scene, made, near)],
        numbers={
            **asdict(memory),
            "threshold": NEAR_DUPLICATE,
            "same defect threshold": SAME_DEFECT,
            "yardstick": "held-out images" if scene.test else "real images, near-duplicates apart",
            "real likeness": closeness["real"],
            "feature distances": distances,
            "neighbours": [_named(scene, made, n, one) for n, one in enumerate(near)],
        },
        findings=_findings(memory, made.name),
        method=[
            (
                "copies and near-duplicates",
                f"correlation of {NEAR_DUPLICATE} or more, pictures of {THUMBNAIL} x {THUMBNAIL} pixels",
            ),
            ("yardstick of the neighbours", names["real"]),
        ],
    )


def _series(scene: Scene) -> dict[str, str]:
    """What the histograms compare, in words."""
    real = "held-out real to real" if scene.test else "real to another real, near-duplicates apart"
    return {"synthetic": "synthetic to real", "real": real}


def _findings(memory: Memory, name: str) -> list[Finding]:
    found = [Finding(name, line, "against") for line in _accusations(memory, name)]
    found = found or [Finding(name, f"No copies of real images among its defect images ({memory.images:,}).", "for")]
    if memory.same_defect:
        found.append(Finding(name, _repeated(memory)))
    return found


def _named(scene: Scene, made: ImageSet, number: int, one: Neighbour) -> dict[str, object]:
    real, picture = scene.real.records, made.records[number]
    return {
        "file": str(picture.path),
        "nearest defective": str(real[one.defective.number].path) if one.defective.number >= 0 else None,
        "likeness": one.defective.similarity if one.defective.number >= 0 else None,
        "painted on": str(real[one.normal].path) if one.normal >= 0 else None,
        "unchanged": one.unchanged,
    }


def _accusations(memory: Memory, name: str) -> list[str]:
    lines = []
    if memory.copies:
        lines.append(
            f"MEMORISED: {memory.copies} of {memory.images} defect images of {name} are copies of real defective "
            "images, exact or nearly so."
        )
    if memory.unchanged:
        lines.append(
            f"WRONG DEFECT: {memory.unchanged} of {memory.images} defect images of {name} are normal images without a "
            "visible change."
        )
    return lines


def _lines(memory: Memory, name: str) -> list[str]:
    lines = _accusations(memory, name)
    if not lines:
        lines.append(f"None of the {memory.images} defect images of {name} is a copy of a real one.")
    if memory.same_defect is not None:
        lines.append(_repeated(memory))
    return lines


def _repeated(memory: Memory) -> str:
    same = memory.same_defect or 0
    asked = f" ({memory.by_reference} of them of the reference they were made after)" if memory.by_reference else ""
    beside = "" if memory.same_defect_real is None else (
        f"; of the real defects {100 * memory.same_defect_real:.0f} % repeat another one so"
    )  # fmt: skip
    return (
        f"{same} of {memory.images} ({100 * same / memory.images:.0f} %) repeat the shape and grey levels of a real "
        f"defect on another background{asked}{beside}."
    )


def _warnings(memory: Memory, near: list[Neighbour]) -> list[str]:
    warnings = []
    unknown = sum(one.normal < 0 for one in near)
    if unknown:
        warnings.append(
            f"{unknown} of {memory.images} images do not tell what they were painted on, nor does a normal image show "
            "it; they are compared as whole pictures."
        )
    if memory.same_defect is None:
        warnings.append(
            "Whether a defect repeats a real one on another background is not known: that needs masks of the real and "
            "of the synthetic defects."
        )
    return warnings


def _table(made: ImageSet, near: list[Neighbour], marks: list[Match]) -> Table:
    rows: list[list[Value]] = []
    for cell, numbers in made.categories.items():
        likeness = [near[n].defective.similarity for n in numbers if near[n].defective.number >= 0]
        rows.append(
            [
                cell_name(cell),
                len(numbers),
                sum(near[n].is_copy for n in numbers),
                sum(near[n].unchanged for n in numbers),
                float(np.median(likeness)) if likeness else None,
                float(max(likeness)) if likeness else None,
            ]
        )
    real = [match.similarity for match in marks]
    copies = sum(value >= NEAR_DUPLICATE for value in real)
    rows.append(["real, as yardstick", len(real), copies, None, *_ends(real)])
    columns = ["cell", "images", "copies", "unchanged normals", "median likeness", "highest likeness"]
    note = (
        "Likeness: correlation with the nearest real defective image of the product, the lower of that of the whole "
        f"pictures and that of the place painted on; 1 for a copy, copies from {NEAR_DUPLICATE} on. Unchanged "
        "normals: no difference from a normal image can be seen. Yardstick: the likeness of real defective images to "
        "one another."
    )
    return Table("Nearest real defective images", columns, rows, note)


def _ends(values: list[float]) -> list[Value]:
    return [float(np.median(values)), float(max(values))] if values else [None, None]


def _feature_distances(scene: Scene, made: ImageSet, store: FeatureStore) -> dict[str, list[float]]:
    """Distance to the nearest real defective image of the product: of synthetic, and of held-out or real images."""
    real = scene.real.where(scene.is_defective)
    held = scene.test.where(scene.is_defective) if scene.test else real
    groups = scene.groups[[n for n, picture in enumerate(scene.real.records) if scene.is_defective(picture)]]
    features = {"real": store.of(real), "held": store.of(held), "made": store.of(made)}
    products = [np.array([picture.product for picture in one.records]) for one in (real, held, made)]
    between = squared(features["made"], features["real"])
    between[products[2][:, None] != products[0][None]] = np.inf
    own = squared(features["held"], features["real"])
    own[products[1][:, None] != products[0][None]] = np.inf
    if scene.test is None:
        own[groups[:, None] == groups[None]] = np.inf
    return {
        name: [float(value) for value in np.sqrt(found.min(1, initial=np.inf)) if np.isfinite(value)]
        for name, found in (("synthetic", between), ("real", own))
    }


def _pictures(scene: Scene, made: ImageSet, near: list[Neighbour]) -> Pictures:
    """The synthetic images that are most like a real defective one, beside it and beside what they were painted on."""
    order = sorted(range(len(near)), key=lambda n: (-near[n].defective.similarity, made.records[n].path))
    rows = []
    for n in order[:SHOWN]:
        one, images, labels = near[n], [made.records[n].path], ["synthetic"]
        if one.defective.number >= 0:
            images.append(scene.real.records[one.defective.number].path)
            labels.append(f"nearest real, likeness {one.defective.similarity:.2f}")
        if one.normal >= 0:
            images.append(scene.real.records[one.normal].path)
            labels.append("painted on this" + (", no change to be seen" if one.unchanged else ""))
        rows.append(PictureRow(f"{cell_name(made.records[n].category)}: {made.records[n].path.name}", images, labels))
    note = (
        f"The {len(rows)} of {len(near)} synthetic images that are most like a real defective one, each beside it and "
        "beside the normal image that it was painted on, where that is known. See whether the defect is the same."
    )
    return Pictures("Nearest neighbours, the most alike first", rows, note)
