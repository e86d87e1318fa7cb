"""What all parts of an evaluation come to: one verdict on each synthetic set. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from defectaug.reporting.sections import Finding, Section


def verdicts(names: Sequence[str], sections: Sequence[Section]) -> list[Section]:
    """A section for each set that is found something of.

    Args:
        names: of the sets.
        sections: of all parts.
    """
    found = [finding for section in sections for finding in section.findings]
    return [_verdict(name, some) for name in names if (some := [one for one in found if one.about == name])]


def _verdict(name: str, findings: Sequence[Finding]) -> Section:
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
        numbers={
            "verdict": "conditional" if conditions else word.lower(),
            "otherwise": word.lower(),
            "findings": list(findings),
        },
        is_verdict=True,
    )


def _words(findings: Sequence[Finding]) -> tuple[str, str]:
    """The verdict, and a sentence that says what it rests on."""
    flawed = any(one.speaks == "against" and not one.decides for one in findings)
    deciding = {one.speaks for one in findings if one.decides}
    if not deciding:
        what = "whether they help a classifier was not measured (part study)"
        if flawed:
            return "LOOK BEFORE USE", f"something is wrong with the images, see below; {what}."
        return "NOT DECIDED", f"nothing was found to be wrong with the images, but {what}."
    if "against" in deciding:
        return "DO NOT USE", "a classifier trained with the images names more defects wrong than without."
    if "for" in deciding:
        if flawed:
            return "USE WITH CARE", "the images lower a classifier's error, but see what speaks against them."
        return "USE", "the images lower a classifier's error, and nothing was found that speaks against them."
    if "unknown" in deciding:
        what = "there are too few test images to tell whether the images help; keep more away from training"
        more = "; something is wrong with the images, too." if flawed else "."
        return "CANNOT KNOW", f"{what} (train --holdout), or name some (--test DIR){more}"
    what = "no effect on a classifier's error is shown, neither for the better nor for the worse"
    if flawed:
        return "LOOK BEFORE USE", f"{what}, and something is wrong with the images, see below."
    return "NO GAIN SHOWN", f"{what}; more seeds (--seeds) or more test images (--test) may tell."
