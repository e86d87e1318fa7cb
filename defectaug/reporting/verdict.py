"""What all parts of an evaluation come to: one verdict on each synthetic set. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from defectaug.metrics.images import ImageSet
from defectaug.reporting.sections import Finding, PictureRow, Pictures, Section

STRIP = 7  # images of a row in the strip of a verdict


def verdicts(
    names: Sequence[str], sections: Sequence[Section], strips: Mapping[str, Pictures] | None = None
) -> list[Section]:
    """A section for each set that is found something of.

    Args:
        names: of the sets.
        sections: of all parts.
        strips: pictures of each set.
    """
    found = [finding for section in sections for finding in section.findings]
    about = {name: [one for one in found if one.about == name] for name in names}
    return [_verdict(name, some, (strips or {}).get(name)) for name, some in about.items() if some]


def strip(real: ImageSet, synthetic: ImageSet, normal: str) -> Pictures:
    """Synthetic defects, and real ones of the same categories above them, the categories in turn."""
    rows: list[list[tuple[str, Path]]] = [[], []]
    shared = [one for one in synthetic.categories if one in real.categories and one.defect != normal]
    for turn in range(STRIP):
        for category in shared[: STRIP - len(rows[0])] if len(rows[0]) < STRIP else ():
            for row, images in zip(rows, (real, synthetic), strict=True):
                members = images.categories[category]
                place = members[round(turn * (len(members) - 1) / max(STRIP - 1, 1))]
                row.append((str(category), images.records[place].path))
    captions = ("real", "synthetic")
    pictures = [
        PictureRow(caption, [path for _, path in row], [name for name, _ in row])
        for caption, row in zip(captions, rows, strict=True)
        if row
    ]
    return Pictures("", pictures)


def _verdict(name: str, findings: Sequence[Finding], pictures: Pictures | None) -> Section:
    word, sentence = _words(findings)
    heads = [one.text.split(":")[0] for one in findings if one.speaks == "against"]
    wrong = ", ".join(dict.fromkeys(head for head in heads if head.isupper()))
    named = f" ({wrong})" if wrong else ""
    lines = [f"{word}{named}: {sentence}"]
    if conditions := [one.text for one in findings if one.speaks == "condition"]:
        lines = [f"CONDITIONAL: {'; '.join(conditions)}. Apart from that: {lines[0]}"]
    shown = [one for one in findings if one.speaks != "condition"]
    shown.sort(key=lambda one: (not one.decides, one.speaks != "against"))
    return Section(
        f"Verdict on {name}",
        lines=[*lines, *(one.text for one in shown)],
        pictures=[pictures] if pictures and pictures.rows else [],
        numbers={
            "verdict": "conditional" if conditions else word.lower(),
            "otherwise": word.lower(),
            "findings": list(findings),
        },
        is_verdict=True,
    )


def _words(findings: Sequence[Finding]) -> tuple[str, str]:
    """The verdict, and a sentence that says what it rests on."""
    flawed = any(one.speaks == "against" and not one.decides and not one.any_line for one in findings)
    deciding, moved = ({one.speaks for one in findings if vars(one)[name]} for name in ("decides", "any_line"))
    if not deciding:
        what = "whether they help a classifier was not measured (part study)"
        if flawed:
            return "LOOK BEFORE USE", f"something is wrong with the images, see below; {what}."
        return "NOT DECIDED", f"nothing was found to be wrong with the images, but {what}."
    if "against" in deciding:
        more = ", though fewer once its line between normal and defective is moved" if "for" in moved else ""
        more += "; fewer beside the real ones may not hurt (--sweep 0.5,1,2)"
        return "DO NOT USE", f"a classifier trained with the images names more defects wrong than without{more}."
    if "for" in deciding:
        return _helps(flawed, moved)
    if "for" in moved:
        what = "where a classifier draws its line between normal and defective no effect on its error is shown"
        more = " and see what speaks against them" if flawed else ""
        how = "but at the best line it errs less with the images: choose its threshold"
        return "USE WITH CARE", f"{what}, {how}{more}."
    if "unknown" in deciding:
        what = "there are too few test images to tell whether the images help; keep more away from training"
        more = "; something is wrong with the images, too." if flawed else "."
        return "CANNOT KNOW", f"{what} (train --holdout), or name some (--test DIR){more}"
    what = "no effect on a classifier's error is shown, neither for the better nor for the worse"
    advice = "more seeds (--seeds) or more test images (--test) may tell"
    if "needless" in deciding:
        what = "without the images a classifier names every test image right, so that nothing is left to gain"
        advice = "more test images, or harder ones, may tell (--test DIR)"
    if flawed:
        return "LOOK BEFORE USE", f"{what}, and something is wrong with the images, see below."
    return "NO GAIN SHOWN", f"{what}; {advice}."


def _helps(flawed: bool, moved: Collection[str]) -> tuple[str, str]:
    """Of images that lower the error; `moved`: what is found where the classifier's line is moved."""
    if "for" in moved or not moved:
        where = ", wherever its line between normal and defective is drawn" if moved else ""
        if flawed:
            return "USE WITH CARE", f"the images lower a classifier's error{where}, but see what speaks against them."
        return "USE", f"the images lower a classifier's error{where}, and nothing was found that speaks against them."
    threshold = "raise it at the best line between normal and defective" if "against" in moved else (
        "not shown to do so at the best line between normal and defective, so that another threshold may do as much"
    )  # fmt: skip
    more = "; see what else speaks against them" if flawed else ""
    return "USE WITH CARE", f"the images lower a classifier's error, but {threshold}{more}."
