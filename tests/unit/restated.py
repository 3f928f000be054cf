"""What several tests compare with, restated plainly in NumPy."""

import numpy as np


def heatmaps(keypoints: np.ndarray, size: tuple, output: tuple, sigma: float) -> np.ndarray:
    """Gaussians of height 255 around (N, K, 3) input pixels, one heat-map pixel after the other."""
    maps = np.zeros((*keypoints.shape[:1], *output, keypoints.shape[1]))
    for n, person in enumerate(keypoints):
        for k, (x, y, _) in enumerate(person):
            column, row = np.floor(x / size[1] * output[1] + 0.5), np.floor(y / size[0] * output[0] + 0.5)
            for i in range(output[0]):
                for j in range(output[1]):
                    maps[n, i, j, k] = 255 * np.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * sigma**2))
    return maps
