"""Networks learn: a short training leaves the best constant heat maps far behind."""

from pathlib import Path

import numpy as np
import pytest

from tests.learning import measure


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measure.persons(tmp_path_factory.mktemp("persons"))


@pytest.mark.slow
def test_loss_ends_thirty_percent_below_the_best_constant_heat_maps(manifest: Path, tmp_path: Path) -> None:
    """One of the networks, half as long as `make learn` does for all."""
    learned = measure.learn("evopose2d_s", manifest, tmp_path, measure.settings(measure.EPOCHS // 2, measure.RATE, 1))
    assert learned.last < 0.7 * learned.constant < 0.7 * learned.first


def test_best_constant_heat_maps_are_each_keypoints_mean_target() -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.uniform(0, 64, (9, 2, 2)), rng.integers(0, 2, (9, 2, 1))], axis=-1)
    found = measure.constant_loss(points, (8, 8), 1.0)
    visible = points[..., 2] > 0
    targets = measure.restated.heatmaps(points, (64, 64), (8, 8), 1.0)
    expected = sum(targets[visible[:, k], ..., k].var(axis=0).sum() * visible[:, k].sum() for k in range(2)) / (
        9 * 8 * 8 * 2
    )
    assert found == pytest.approx(expected)
