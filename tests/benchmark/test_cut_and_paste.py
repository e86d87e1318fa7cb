"""The control of the study: training defects cut out and pasted, in one draw or several."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_helpers import save
from PIL import Image
from scipy.ndimage import gaussian_filter
from test_study import QUICK, errors

from defectaug.benchmark.api import run_study
from defectaug.benchmark.control import cut_and_paste
from defectaug.benchmark.result import ALL
from defectaug.data.index import index_folder
from defectaug.errors import DataError
from defectaug.metrics.changes import mask_finder
from defectaug.metrics.folders import records_of, with_masks
from defectaug.metrics.images import Form, ImageStore, decode
from defectaug.reporting.sections import as_json
from defectaug.reporting.study import study_section


def spot_masks(root: Path, real: Path) -> Path:
    """Masks of all spots, none of scratches."""
    for path in real.glob("*/spot/*.png"):
        image = np.asarray(Image.open(path)).astype(float)
        strange = np.abs(gaussian_filter(image, 1) - 120) > 28
        save(root / path.relative_to(real), np.where(strange, 255, 0).astype(np.uint8))
    return root


def test_the_control_pastes_training_defects_on_training_normals(real: Path, test: Path, made: Path) -> None:
    store, index = ImageStore(), index_folder(real)
    masks = spot_masks(real.with_name("masks"), real)
    records = with_masks(records_of(index), real, masks)
    images = decode(records, Form(32, 1, store=store), print)
    found = cut_and_paste(images, "normal", mask_finder(store, None), QUICK)
    assert Counter(map(str, found.images.categories)) == {"A/spot": 16, "B/spot": 16}
    assert found.left_out == {"training defects of unknown mask, or on products without normal images": 16}
    sources = {record.path: image.float() for record, image in zip(images.records, images.images, strict=True)}
    for record, image in zip(found.images.records, found.images.images, strict=True):
        change = (image.float() - sources[record.source]).abs()[0]
        assert 3 < (change > 12).sum() < 100  # a spot is there, and nothing else has changed
        assert record.source.parts[-3:-1] == (record.product, "normal") and record.reference.parent.name == "spot"
    again = cut_and_paste(images, "normal", mask_finder(store, None), QUICK)
    assert again.images.digests == found.images.digests
    other = cut_and_paste(images, "normal", mask_finder(store, None), QUICK, draw=1)
    assert other.name == "cut and paste, draw 2" and not {*other.images.digests} & {*found.images.digests}
    more = cut_and_paste(images, "normal", mask_finder(store, None), replace(QUICK, sweep=(1, 2)))
    assert set(Counter(more.images.categories).values()) == {64}  # twice the 32 defects, all of them in one category
    beside = [replace(found, images=found.images.take(numbers)) for numbers in ((0, 1, 2), (3, 4))]  # all of A/spot
    few = cut_and_paste(images, "normal", mask_finder(store, None), QUICK, beside)
    assert Counter(map(str, few.images.categories)) == {"A/spot": 3, "B/spot": 16}  # as the largest set has
    with pytest.raises(DataError, match="--masks DIR or --model DIR"):
        cut_and_paste(images, "normal", lambda record: None, QUICK)


def test_what_a_set_adds_to_the_control_is_said(real: Path, test: Path, made: Path) -> None:
    spot_masks(real.with_name("masks"), real)
    index = index_folder(real)
    masked = {one.path: one.mask for one in with_masks(records_of(index), real, real.with_name("masks"))}
    index = replace(index, samples=tuple(replace(one, mask=masked[one.path]) for one in index.samples))
    settings = replace(QUICK, control_draws=2)
    result = run_study(index, [made], settings, test=test, control=mask_finder(ImageStore(), None))
    assert list(errors(result)) == [
        "none", "none + made", "none + cut and paste", "none + cut and paste, draw 2",
    ]  # fmt: skip
    over, other = result.over_control
    assert other.condition == "none + cut and paste, draw 2"
    assert (over.condition, over.against) == ("none + made", "none + cut and paste")
    with_made, pasted = (result.condition(name).errors() for name in (over.condition, over.against))
    assert over.differences[ALL].mean == pytest.approx(np.mean(with_made) - np.mean(pasted))
    section = study_section(result)
    assert sum("control" in line and "none + made" in line for line in section.lines) == 1
    drawn = sorted(100 * np.mean(of) for name, of in errors(result).items() if "cut and paste" in name)
    told = f"2 draws of cut and paste: error rates of {drawn[0]:.1f} to {drawn[1]:.1f} %, "
    assert sum(line.startswith(told) for line in section.lines) == 1
    assert [one.text for one in section.findings if one.about == "made" and "control" in one.text]
    assert sum("another draw of cut and paste" in line for line in section.warnings) == 1
    assert json.dumps(as_json(section))
