"""Distances agree with closed forms and with the libraries' own results; what cannot be had is said."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_data import part, real, save, synthetic
from PIL import Image
from scipy.spatial.distance import cdist

from defectaug.data.index import index_folder
from defectaug.data.sample import Category
from defectaug.errors import ConfigError
from defectaug.metrics.context import ArrayCache
from defectaug.metrics.distances import (
    frechet,
    inside,
    intra_cluster,
    kernel_distance,
    pair_mean,
    polynomial_kernel,
    resampled,
    share_interval,
    squared_distances,
)
from defectaug.metrics.features import LITE_SIDE, FeatureCache, Inception, LiteFeatures, LiteMaps, Lpips, resized
from defectaug.metrics.fidelity import CROPS, Measure, chosen_pairs, groups_of
from defectaug.metrics.folders import records_of
from defectaug.metrics.images import ImageStore, read_images
from defectaug.nn import weights
from defectaug.nn.backbones import frozen_lite
from defectaug.reporting.api import evaluate
from defectaug.reporting.fidelity import Fidelity, lines

pytestmark = pytest.mark.usefixtures("no_network")


def rows(count: int, seed: int, mean: float = 0.0, size: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(mean, 1, (count, size)) @ rng.normal(0, 1, (size, size))


def hashed(path: Path) -> weights.WeightsFile:
    return weights.WeightsFile(path, hashlib.sha256(path.read_bytes()).hexdigest())


def gaussian(mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Rows whose mean and covariance are exactly `mean` and root root'."""
    raw = rows(400, 3, size=len(mean))
    raw = raw - raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return white @ root.T + mean


def test_frechet_of_known_gaussians() -> None:
    deviations = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.5])
    a = gaussian(np.zeros(3), np.diag(deviations[0]))
    b = gaussian(np.array([1.0, -2.0, 0.0]), np.diag(deviations[1]))
    assert frechet(a, b) == pytest.approx(5 + np.square(deviations[0] - deviations[1]).sum(), rel=1e-9)
    turn = np.linalg.qr(rows(3, 0, size=3))[0]
    assert frechet(a @ turn, b @ turn) == pytest.approx(frechet(a, b), rel=1e-9)


@pytest.mark.parametrize("count", [5, 40])
def test_frechet_of_a_set_against_itself_is_zero(count: int) -> None:
    a = rows(count, 1)
    assert frechet(a, a[::-1]) == pytest.approx(0, abs=1e-9)


def test_agreement_with_torch_fidelity_on_features() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    a, b = (torch.from_numpy(rows(count, 5, mean).astype(np.float32)) for count, mean in ((60, 0.0), (50, 0.3)))
    expected = fid_statistics_to_metric(fid_features_to_statistics(a), fid_features_to_statistics(b), False)
    assert frechet(a.numpy(), b.numpy()) == pytest.approx(expected["frechet_inception_distance"], rel=1e-3)
    half = b[:50]
    kid = kid_features_to_metric(half, a[:50], kid_subsets=1, kid_subset_size=50, verbose=False)
    found = kernel_distance(half.numpy(), a[:50].numpy())(None, None)
    assert found == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-3)
    prc = prc_features_to_metric(b, a, verbose=False)  # first the synthetic ones
    assert inside(b.numpy(), a.numpy()).mean() == pytest.approx(prc["precision"], rel=1e-3)
    assert inside(a.numpy(), b.numpy()).mean() == pytest.approx(prc["recall"], rel=1e-3)


def test_agreement_with_torch_fidelity_on_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch_fidelity.feature_extractor_inceptionv3 as library

    with monkeypatch.context() as patch:
        patch.setattr(library, "load_state_dict_from_url", lambda *args, **options: {})
        patch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        expected = library.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(expected.state_dict(), tmp_path / "random.pth")
    found = weights.find(weights.inception(), tmp_path / "random.pth")
    assert found is not None
    images = torch.from_numpy(np.stack([part(seed)[0] for seed in range(2)]))[:, None].repeat(1, 3, 1, 1)
    np.testing.assert_allclose(Inception(found)(images), expected(images)[0].numpy(), rtol=1e-4)


def test_agreement_with_torchmetrics_lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchmetrics.functional.image.lpips as library
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    from torchvision.models import alexnet

    torch.manual_seed(0)
    network = alexnet(weights=None).features
    torch.save({f"features.{key}": value for key, value in network.state_dict().items()}, tmp_path / "alexnet.pth")
    monkeypatch.setattr(library, "_get_tv_model_features", lambda net, pretrained=False: network)
    expected = LearnedPerceptualImagePatchSimilarity("alex", reduction="mean", normalize=True)
    found = Lpips(hashed(tmp_path / "alexnet.pth"))
    a, b = (torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8) for _ in range(2))
    assert found(a, b).mean() == pytest.approx(float(expected(a.float() / 255, b.float() / 255)), rel=1e-3)
    assert found(a, a) == pytest.approx(np.zeros(3), abs=1e-7)


def test_kernel_distance_pairs_no_row_with_itself_when_drawn_twice() -> None:
    a, b = rows(30, 1), rows(30, 1)
    kernel = polynomial_kernel(a, b)
    twice = np.zeros(30)
    twice[:15] = 2
    assert pair_mean(kernel, twice) == pytest.approx(pair_mean(kernel[:15, :15]))


def test_intervals() -> None:
    values = np.random.default_rng(0).normal(5, 2, 200)
    found = resampled(
        float(values.mean()), lambda w, _: float(w @ values / w.sum()), (200, 1), seed=0, resamples=400
    )
    error = 1.96 * values.std() / np.sqrt(200)
    assert found.high - found.value == pytest.approx(error, rel=0.25)
    assert found.value - found.low == pytest.approx(error, rel=0.25)
    wilson = share_interval(0, 10)
    assert (wilson.value, wilson.low) == (0, 0)
    assert wilson.high == pytest.approx(0.2775, abs=1e-3)


def test_squared_distances_of_long_rows_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(50, 1, (count, 3000)).astype(np.float32) for count in (7, 5))
    expected = cdist(a, b, "sqeuclidean")
    np.testing.assert_allclose(squared_distances(a, b), expected, rtol=1e-9)
    assert np.diag(squared_distances(a, a)).max() < 1e-9 * expected.max()


def test_frechet_of_weighted_rows_is_that_of_rows_repeated() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    wa, wb = np.array([0, 2, 1, 0, 3, 1]), np.array([1, 1, 0, 0, 3])
    expected = frechet(a.repeat(wa, 0), b.repeat(wb, 0))
    assert frechet(a, b, wa, wb) == pytest.approx(expected)


def test_pairs_are_chosen_once_each() -> None:
    assert chosen_pairs(4, 0) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    many = chosen_pairs(1000, 0)
    assert len(set(many)) == len(many) == 100
    assert many == chosen_pairs(1000, 0)


def test_groups_are_cells_products_defects_and_all() -> None:
    named = ("A/normal", [0]), ("A/scratch", [1, 2]), ("B/scratch", [3]), ("B/spot", [4])
    real_categories = {Category(*name.split("/")): numbers for name, numbers in named}
    made = {Category("A", "scratch"): [0], Category("B", "scratch"): [1], Category("C", "scratch"): [2]}
    groups = groups_of(real_categories, made, "normal")
    assert [group.name for group in groups] == ["A/scratch", "B/scratch", "defect scratch"]
    assert groups[-1].real == (1, 2, 3)


@pytest.fixture(scope="module")
def lite() -> weights.WeightsFile:
    return weights.require(weights.EFFICIENTNET_LITE, None)


def test_the_words_are_of_all_cells_together(lite: weights.WeightsFile) -> None:
    few = Fidelity(4, 9, frechet_even=3.0, frechet_real=1.0, even=2)
    whole = Fidelity(8, 18, frechet_even=1.2, frechet_real=1.0, even=4)
    measure = Measure(LiteFeatures(lite))
    for name in ("defect spot", "product A", "all"):
        (line,) = lines([(measure, {"A/spot": few, "B/spot": few, name: whole})])
        assert line.startswith("At 4 images each, the synthetic images are 1.2 times")


def test_features_are_taken_once_and_kept(tmp_path: Path, lite: weights.WeightsFile) -> None:
    root = real(tmp_path / "data", {"A/normal": 3, "A/spot": 2}, masks=False)
    save(root / "A/spot/larger.png", np.kron(part(5, "spot")[0], np.ones((2, 2), np.uint8)))
    save(root / "A/spot/colour.png", np.repeat(part(6, "spot")[0][..., None], 3, axis=2))
    images = read_images("data", records_of(index_folder(root)), ImageStore(), print)
    extractor = LiteFeatures(lite)
    first = FeatureCache(extractor, ArrayCache(tmp_path / "cache")).of(images)
    assert first.shape == (7, extractor.size)

    class Never(LiteFeatures):
        def __call__(self, images: torch.Tensor) -> np.ndarray:
            raise AssertionError("computed twice")

    np.testing.assert_array_equal(FeatureCache(Never(lite), ArrayCache(tmp_path / "cache")).of(images), first)
    for path in (tmp_path / "cache").rglob("*.npz"):
        path.write_bytes(b"damaged")
    np.testing.assert_array_equal(FeatureCache(extractor, ArrayCache(tmp_path / "cache")).of(images), first)
    pixels = torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8)
    twice = FeatureCache(extractor, ArrayCache()).of_pixels(pixels[[0, 1, 0]])
    assert (twice[0] == twice[2]).all() and (twice[0] != twice[1]).any()


def test_map_distance_is_lpips_without_weights(lite: weights.WeightsFile) -> None:
    images = torch.from_numpy(np.stack([part(1)[0], part(1, "scratch")[0]]))[:, None].repeat(1, 3, 1, 1)
    maps = LiteMaps(lite)
    a, b = maps(images).astype(np.float64)
    levels = [one.numpy().astype(np.float64) for one in frozen_lite(lite).levels(resized(images, LITE_SIDE))]
    expected = 0.0
    for number in (2, 4, 6):  # Zhang et al., eq. 1, with w = 1
        unit = levels[number] / np.linalg.norm(levels[number], axis=1, keepdims=True)
        expected += np.square(unit[0] - unit[1]).sum(0).mean()
    assert np.square(a - b).sum() == pytest.approx(expected, rel=1e-4)


def test_distances_within_clusters_fall_for_copies() -> None:
    anchors, rng = rows(4, 3) * 5, np.random.default_rng(0)
    numbers = rng.integers(0, 4, 30)
    copies, varied = (anchors[numbers] + rng.normal(0, size, (30, 12)) for size in (1e-3, 1.0))

    def found(some: np.ndarray) -> float:
        value = intra_cluster(cdist(some, some), cdist(some, anchors))
        assert value is not None
        return value

    assert found(copies) < 0.01 and found(varied) > 2
    expected = np.mean([pair_mean(cdist(varied[numbers == k], varied[numbers == k])) for k in range(4)])
    assert found(varied) == pytest.approx(expected)
    assert intra_cluster(np.zeros((1, 1)), np.zeros((1, 4))) is None


def test_without_weights_other_measures_come_under_their_own_names(tmp_path: Path) -> None:
    root, said = real(tmp_path / "data"), []
    out = synthetic(tmp_path / "out", root)
    result = evaluate(root, out, only=["fidelity"], masks=tmp_path / "data.masks", log=said.append)
    (section,) = result.sections
    assert sum("Inception-v3" in line for line in said) == 1
    columns = [column for table in section.tables for column in table.columns]
    assert not {"FID", "KID", "LPIPS, real"} & set(columns) and "within clusters" in columns
    whole, crops = (one["groups"]["A/scratch"] for one in section.numbers["measures"].values())
    for group in (whole, crops):
        assert (group.real, group.synthetic, group.resamples) == (12, 8, 200)
        assert group.frechet.low <= group.frechet.value <= group.frechet.high
        assert group.frechet_even < 3 * group.frechet_real
        assert group.clustered > 0 and group.lpips is None
    assert section.lines[0].startswith("At 6 images each, crops around synthetic defects are")
    assert any("fewer images than its" in line for line in section.warnings)


def test_a_strange_defect_stands_out_on_crops(tmp_path: Path) -> None:
    root = real(tmp_path / "data")
    out = synthetic(tmp_path / "out", root, "spot")
    for number, path in enumerate(sorted((out / "A/spot").glob("*.png"))):
        pixels = np.asarray(Image.open(path)).copy()
        mask = np.asarray(Image.open(tmp_path / "out.masks/A/spot" / path.name)) > 0
        pixels[mask] = np.random.default_rng(number).integers(0, 255, mask.sum())
        save(path, pixels)
    plain = synthetic(tmp_path / "plain", root, "spot")
    crops = [
        section.numbers["measures"][title]["groups"]["A/spot"]
        for section in evaluate(root, [out, plain], only=["fidelity"]).sections
        for title in section.numbers["measures"]
        if title.startswith(CROPS)
    ]
    strange, fitting = (one.frechet_even / one.frechet_real for one in crops)
    assert strange > 1.4 * fitting
    shutil.rmtree(tmp_path / "data.masks")
    bare = evaluate(root, plain, only=["fidelity"])
    assert any(line.startswith("No crops around the defect: masks of real") for line in bare.sections[0].warnings)


@pytest.mark.usefixtures("no_network")
def test_weights_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "kept"))
    with pytest.raises(ConfigError, match="no such file"):
        weights.find(weights.inception(), tmp_path / "none.pth")
    with pytest.raises(ConfigError, match="no file of weights"):
        weights.find(weights.inception(), tmp_path)
    (tmp_path / "w.pth").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        weights.find(weights.inception(), tmp_path / "w.pth")
    torch.save({"other": torch.zeros(1)}, tmp_path / "w.pth")
    assert weights.find(weights.inception(), tmp_path / "w.pth") is None
