"""A classifier that starts from ImageNet weights: frozen features of EfficientNet-Lite1, and a logistic regression."""

from __future__ import annotations

import numpy as np
import torch
from defect_statistics import Classify
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from defectaug.methods.features import ImageNetFeatures, load_weights
from defectaug.nn.weights import EFFICIENTNET_LITE, require

BATCH = 32
STRENGTH = 0.01  # of the regression's inverse penalty: few images, hundreds of features


def imagenet_classifier() -> tuple[Classify, str]:
    """The classifier and what it is.

    Raises:
        MissingWeights: the weights' package is not installed.
    """
    features = ImageNetFeatures()
    load_weights(features, require(EFFICIENTNET_LITE, None))

    def classify(images: NDArray, labels: NDArray[np.int64], queries: NDArray, seed: int) -> NDArray[np.int64]:
        flipped = np.concatenate([images, images[:, :, ::-1]])
        head = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=STRENGTH, max_iter=1000, class_weight="balanced", random_state=seed),
        )
        head.fit(describe(features, flipped), np.tile(labels, 2))
        return np.asarray(head.predict(describe(features, queries)))

    return classify, "EfficientNet-Lite1, four frozen stages, logistic regression"


@torch.inference_mode()
def describe(features: ImageNetFeatures, images: NDArray) -> NDArray[np.float32]:
    """Mean and maximum of each channel of each stage (N, F) of images (N, S, S, 3) uint8."""
    rows = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).permute(0, 3, 1, 2).float()
        levels = features(batch / 127.5 - 1)
        rows.append(torch.cat([part for h in levels for part in (h.mean((2, 3)), h.amax((2, 3)))], 1))
    return np.asarray(torch.cat(rows).numpy())
