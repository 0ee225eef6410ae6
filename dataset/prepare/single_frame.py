"""How well a single frame predicts the class of a video: simple image features and a linear classifier."""

from collections.abc import Sequence

import cv2
import numpy as np

_CELLS = 4  # rows and columns of the grid of mean colors
_LEVELS = 4  # bins per color channel of the histogram
_DIRECTIONS = 8  # bins of the edge orientation histogram
_FOLDS = 5
_RIDGE = 30.0  # regularization, for features of standard deviation 1


def image_features(picture: np.ndarray) -> np.ndarray:
    """Return the features of an image, uint8 [64, 64, 3]: grid of mean colors, color and edge orientation histograms.

    Returns:
        float64 [features].
    """
    place = cv2.resize(picture, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).ravel() / 255.0
    levels = picture.reshape(-1, 3).astype(np.int64) * _LEVELS // 256
    colors = np.bincount(levels @ (_LEVELS**2, _LEVELS, 1), minlength=_LEVELS**3) / len(levels)
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = []
    for smoothed in (gray, cv2.GaussianBlur(gray, (0, 0), 2)):
        dy, dx = np.gradient(smoothed)
        turn = ((np.arctan2(dy, dx) % np.pi) * (_DIRECTIONS / np.pi)).astype(np.int64) % _DIRECTIONS
        edges.append(np.bincount(turn.ravel(), weights=np.hypot(dx, dy).ravel(), minlength=_DIRECTIONS) / gray.size)
    return np.concatenate([place, np.sqrt(colors), np.log1p(np.concatenate(edges))])


def frame_accuracy(features: np.ndarray, labels: np.ndarray, *, groups: Sequence[str]) -> float:
    """Return the cross-validated accuracy of a ridge regression classifier on features of single frames, 0 to 1.

    Args:
        features: Features of a frame of each video, [videos, features].
        labels: Class index of each video, [videos].
        groups: Group of each video; a group is never in training and test folds at once.
    """
    names = sorted(set(groups))
    order = np.random.default_rng(0).permutation(len(names))
    fold_of = {names[index]: number % _FOLDS for number, index in enumerate(order)}
    folds = np.array([fold_of[group] for group in groups])
    targets = np.eye(int(labels.max()) + 1)[labels]
    right = 0
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        if not train.any():
            return 0.0  # a single group cannot be cross-validated
        mean, std = features[train].mean(axis=0), features[train].std(axis=0) + 1e-6
        known, asked = (features[train] - mean) / std, (features[test] - mean) / std
        base = targets[train].mean(axis=0)
        weights = np.linalg.solve(known.T @ known + _RIDGE * np.eye(known.shape[1]), known.T @ (targets[train] - base))
        right += int(((asked @ weights + base).argmax(axis=1) == labels[test]).sum())
    return right / len(labels)
