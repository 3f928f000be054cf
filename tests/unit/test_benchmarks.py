"""What the benchmarks compare computes the same, and their command runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.config import Augmentation
from pipeline_lib.data import records
from pipeline_lib.nets.normalization import STD, normalize
from pipeline_lib.train.targets import heatmaps
from tests.benchmarks import paper_pipeline, pictures

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH = 128, 96


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return records.read_manifest(pictures.records(tmp_path_factory.mktemp("pictures"), 2))


def test_pictures_are_as_large_as_photographs(manifest):
    assert manifest.examples == 16
    size = sum(shard.path.stat().st_size for shard in manifest.shards) / manifest.examples
    assert 180_000 < size < 206_000


def test_the_papers_form_sees_the_same_crops_and_targets(manifest):
    shared = {"height": HEIGHT, "width": WIDTH, "batch": 16, "augmentation": None, "seed": 0, "epochs": 1, "threads": 1}
    images, maps, seen = next(iter(paper_pipeline.dataset(manifest, **shared)))
    own_images, keypoints, _ = next(iter(records.dataset(manifest, **shared)))
    assert np.abs(images - np.asarray(normalize(own_images))).mean() * np.mean(STD) * 255 < 2
    np.testing.assert_array_equal(seen > 0, keypoints[..., 2] > 0)
    expected = np.asarray(heatmaps(keypoints, (HEIGHT, WIDTH), (HEIGHT // 4, WIDTH // 4), 1.0))
    # A keypoint half way between two heat-map pixels may be rounded either way.
    different = (np.abs(maps - expected).max(axis=(1, 2)) > 1).mean()
    assert different < 0.02


def test_the_papers_form_is_not_made_to_wait(manifest):
    """Deterministic ops would have a map with random state run one record at a time."""
    shared = {"height": HEIGHT, "width": WIDTH, "batch": 16, "seed": 0, "epochs": 1, "threads": 2}
    (batch,) = paper_pipeline.dataset(manifest, augmentation=Augmentation(), **shared)
    (again,) = paper_pipeline.dataset(manifest, augmentation=Augmentation(), **shared)
    (plain,) = paper_pipeline.dataset(manifest, augmentation=None, **shared)
    np.testing.assert_array_equal(batch[0], again[0])
    assert not np.array_equal(batch[0], plain[0])


def test_command(tmp_path):
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks",
        "pipeline",
        "--seconds",
        "0.1",
        "--images",
        "2",
        "--batch",
        "4",
    ]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "bench.json")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    rates = [row for row in rows if row["unit"] == "images/s"]
    assert len(rates) == 10 and all(row["value"] > 0 for row in rates)
    to_device = {row["variant"]: row["value"] for row in rows if row["unit"] == "MB/image"}
    for form in ("images", "crops, JPEG", "crops, raw"):
        assert to_device[f"records: {form}, to the device"] == pytest.approx((256 * 192 * 3 + 17 * 3 * 4 + 4) / 1e6)
        assert to_device[f"records: {form}, to the device"] <= 0.15
    assert to_device["paper's form, to the device"] == pytest.approx((256 * 192 * 3 + 64 * 48 * 17 + 17) * 4 / 1e6)
    stored = {(row["benchmark"], row["variant"]): row["value"] for row in rows if row["unit"] == "MB/person"}
    assert stored["pipeline, search (flip)", "records: crops, raw, stored"] == pytest.approx(
        256 * 192 * 3 / 1e6, rel=0.01
    )
    away = {(row["benchmark"], row["variant"]): row["value"] for row in rows if row["unit"] == "levels of 255"}
    name = "pipeline, training (scale, rotation, flip)"
    raw, jpeg, less, least = (
        away[name, f"records: crops, {form}, from whole images"]
        for form in ("raw", "JPEG", "raw, crop_resolution 1.5", "raw, crop_resolution 1")
    )
    assert 0 <= raw < 0.01 < less < least < 20 and 0.01 < jpeg < 2
    assert len(away) == 6
    for row in rates:
        assert f"{row['variant']}" in done.stdout


def test_command_names_an_unknown_benchmark():
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "nothing"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (
        done.returncode == 2 and "nothing: one of pipeline, step, start, dag, memory, device is expected" in done.stderr
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seconds", "0"], "--seconds: a number above 0 is expected, not 0"),
        (["--batch", "-3"], "--batch: an integer above 0 is expected, not -3"),
        (["--threads", "0"], "--threads: an integer above 0"),
        (["--evaluations", "0"], "--evaluations: an integer above 0"),
        (["--json", "."], "--json: . is a folder; name a file"),
    ],
)
def test_command_names_wrong_options_before_it_measures(options, said):
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "pipeline", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_the_step_on_an_accelerator_is_measured_under_jax_only(tmp_path):
    command = [sys.executable, "-m", "tests.benchmarks", "device", "--json", str(tmp_path / "bench.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "run KERAS_BACKEND=jax .venv-jax/bin/python -m tests.benchmarks device" in done.stderr
