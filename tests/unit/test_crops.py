"""Crop records: what they reach by brute force, how they differ from whole images, and what is said when they do not fit."""

import dataclasses
import hashlib
import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.JpegImagePlugin
import pytest

from pipeline_lib.config import (
    COCO_KEYPOINTS,
    FLIP_ONLY,
    Augmentation,
    ConversionSettings,
    EvaluationConfig,
    Reach,
    SyntheticConfig,
    TrainSettings,
)
from pipeline_lib.data import augment, crops, records
from pipeline_lib.data.convert import convert
from pipeline_lib.data.synthetic.dataset import synthesize
from pipeline_lib.data.tfrecord import encode_example, write_record
from pipeline_lib.errors import ArtifactError, ConfigError, DataError
from tests.benchmarks import pictures

HEIGHT, WIDTH = 96, 72
SIZE = {"height": HEIGHT, "width": WIDTH}
TRAINING = Augmentation()
WIDE = TRAINING.reach(HEIGHT, WIDTH)
NARROW = FLIP_ONLY.reach(HEIGHT, WIDTH)
# Mean difference of the pixels that the requirements allow.
MOST = 2


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with people, grey pictures and boxes that leave the image among them."""
    folder = tmp_path_factory.mktemp("source")
    synthesize(SyntheticConfig(train_images=24, val_images=1), 3, folder)
    return folder


def converted(source: Path, folder: Path, reach: Reach | None = None, **settings: Any) -> records.Manifest:
    kind = "images" if reach is None else "crops"
    convert(
        folder / "manifest.json",
        annotations=source / "annotations/person_keypoints_train.json",
        images=source / "images/train",
        split="train",
        purpose="training",
        schema=COCO_KEYPOINTS,
        settings=ConversionSettings(records=kind, shard_size=20, **settings),
        reach=reach,
    )
    return records.read_manifest(folder / "manifest.json")


Made = dict[str, records.Manifest]


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    forms: dict[str, dict[str, Any]] = {
        "images": {},
        "wide": {"reach": WIDE},
        "wide raw": {"reach": WIDE, "crop_encoding": "raw"},
        "wide reduced": {"reach": WIDE, "crop_encoding": "raw", "crop_resolution": 1},
        "narrow": {"reach": NARROW},
        "narrow raw": {"reach": NARROW, "crop_encoding": "raw"},
    }
    return {name: converted(source, folder / name, **how) for name, how in forms.items()}


def read(manifest: records.Manifest, **options: Any) -> dict[str, np.ndarray]:
    """All records, in one batch."""
    options = {"batch": manifest.examples, "metadata": True} | SIZE | options
    with records.readable_errors():
        (batch,) = records.dataset(manifest, **options).as_numpy_iterator()
    return batch


def form_of(reach: Reach, **settings: Any) -> crops.Form:
    return crops.wanted(ConversionSettings(records="crops", **settings), reach)


def features(reader: records.Reader, position: int) -> dict[str, Any]:
    (found,) = reader.features([position])
    return found


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other).mean(axis=(1, 2, 3))


# Reach


@pytest.mark.parametrize(
    ("augmentation", "scale", "rotation"),
    [
        (TRAINING, 1.3, 80.0),
        (FLIP_ONLY, 1.0, 0.0),
        (Augmentation(scale_std=0), 1.0, 80.0),
        (Augmentation(scale_limit=0.25, rotation_std=0), 1.25, 0.0),
        (Augmentation(scale_limit=0, rotation_probability=0), 1.0, 0.0),
        (Augmentation(rotation_limit=30.0, rotation_probability=0.01), 1.3, 30.0),
    ],
)
def test_the_reach_of_an_augmentation(augmentation: Augmentation, scale: float, rotation: float) -> None:
    assert augmentation.reach(8, 6) == Reach(height=8, width=6, scale=scale, rotation=rotation)
    draws = [augment.sample(augmentation, 1, 0, index) for index in range(300)]
    assert max(draw.scale for draw in draws) == pytest.approx(scale)
    assert max(abs(draw.rotation) for draw in draws) <= rotation


def test_names_tell_reaches_apart() -> None:
    assert NARROW.name == "96x72" and WIDE.name == "96x72_scale1.3_rotation80"
    assert Reach(height=8, width=6, rotation=2.5).name == "8x6_rotation2.5"
    assert Reach(height=8, width=6, scale=1.25).name == "8x6_scale1.25"


REACHES = [
    *((96, 72, scale, rotation) for scale, rotation in ((1.0, 0.0), (1.3, 0.0), (1.0, 30.0), (1.3, 80.0))),
    *((64, 96, scale, rotation) for scale, rotation in ((1.2, 0.0), (1.0, 95.0), (1.1, 180.0))),
    *((33, 51, scale, rotation) for scale, rotation in ((1.0, 0.0), (1.05, 12.5))),
]


@pytest.mark.parametrize("person", [40, 150, 400, 700])
@pytest.mark.parametrize(("height", "width", "scale", "rotation"), REACHES)
def test_a_record_is_what_all_crops_can_show(
    height: int, width: int, scale: float, rotation: float, person: int
) -> None:
    """By brute force: where the corner pixels of crops within the reach, mirrored ones too, lie in the record."""
    reach = Reach(height=height, width=width, scale=scale, rotation=rotation)
    box = [3000.0, 3000.0, 1.0, person]
    part = crops.part(box, 6000, 6000, form_of(reach))
    into = augment.inverse(part.back)
    corners = np.array(list(itertools.product((0, width - 1), (0, height - 1))), np.float64)
    found = []
    angles = np.linspace(-rotation, rotation, 721) if rotation else [0.0]
    for angle, size, flip in itertools.product(angles, {1 - (scale - 1), 1.0, scale}, (False, True)):
        back = augment.inverse(augment.crop_affine(box, height, width, size, angle, flip))
        found.append(augment.apply(into, augment.apply(back, corners)))
    low, high = np.min(found, axis=(0, 1)), np.max(found, axis=(0, 1))
    end = np.array([part.width - 1, part.height - 1])
    assert (low > -1e-6).all() and (high < end + 1e-6).all()
    slack = np.array([low, end - high])
    if scale == 1 and rotation == 0:
        assert (part.height, part.width) == (height, width)
        np.testing.assert_allclose(slack, 0, atol=1e-9)
    else:
        assert slack.min() >= 1 - 1e-3, "a pixel for interpolation"
        assert slack.max() < 2 + 1e-2, "and no more"


@pytest.mark.parametrize(
    ("person", "settings", "expected"),
    [
        (20, {}, 1.0),
        (HEIGHT / 1.25, {}, 1.0),
        (4 * HEIGHT / 1.25, {}, 1.0),
        (6 * HEIGHT / 1.25, {}, 2 / 3),
        (16 * HEIGHT / 1.25, {}, 1 / 4),
        (20, {"crop_resolution": 1}, 1.0),
        (HEIGHT / 1.25, {"crop_resolution": 1}, 1.0),
        (4 * HEIGHT / 1.25, {"crop_resolution": 1}, 1 / 4),
        (4 * HEIGHT / 1.25, {"crop_resolution": 1.5}, 1.5 / 4),
        (6 * HEIGHT / 1.25, {"crop_resolution": 6}, 1.0),
    ],
)
def test_records_have_the_resolution_of_the_image_and_at_most_the_configured_one(
    person: float, settings: dict[str, Any], expected: float
) -> None:
    """1.25: the margin of a crop around the person. The default is 4."""
    part = crops.part([300.0, 200.0, 1.0, person], 2000, 2000, form_of(WIDE, **settings))
    np.testing.assert_allclose(part.back[:, :2], np.eye(2) / expected)


def test_a_crop_of_scale_1_is_a_record_of_resolution_1_that_is_cut_out() -> None:
    """Nothing is enlarged or reduced: pixels of the record and of the crop are the same ones, a fraction of a pixel apart."""
    box = [500.0, 300.0, 160.0, 400.0]
    part = crops.part(box, 1000, 1200, form_of(WIDE, crop_resolution=1))
    into = augment.after(augment.crop_affine(box, HEIGHT, WIDTH), part.back)
    np.testing.assert_allclose(into[:, :2], np.eye(2), atol=1e-12)
    assert part.height < 2.5 * HEIGHT and part.width < 3.5 * WIDTH


def test_records_end_where_the_image_ends() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    record, part = crops.cut(image, [10.0, 10.0, 30.0, 30.0], form_of(WIDE))
    np.testing.assert_array_equal(record, image)
    np.testing.assert_array_equal(part.back, np.eye(2, 3))
    corner, part = crops.cut(image, [54.0, 45.0, 2.0, 2.0], form_of(WIDE))
    np.testing.assert_array_equal(corner, image[50 - corner.shape[0] :, 60 - corner.shape[1] :])
    np.testing.assert_array_equal(part.back[:, 2], [60 - corner.shape[1], 50 - corner.shape[0]])
    assert (part.height, part.width) == corner.shape[:2] and corner.shape[0] < 10
    for height, width in itertools.product(range(600, 606), (500, 503)):  # a person who is reduced
        part = crops.part([0.0, 0.0, width, height], height, width, form_of(WIDE))
        end = augment.apply(augment.inverse(part.back), np.array([width - 1.0, height - 1.0]))
        assert (end <= [part.width - 1, part.height - 1]).all() and (end > [part.width - 2, part.height - 2]).all()


@pytest.mark.parametrize("box", [[-500.0, 20.0, 30.0, 50.0], [900.0, 900.0, 5.0, 5.0], [10.0, -4000.0, 900.0, 900.0]])
def test_people_outside_of_the_image_are_mean_colour(box: list[float]) -> None:
    image = np.full((60, 50, 3), 255, np.uint8)
    record, part = crops.cut(image, box, form_of(WIDE))
    assert min(record.shape) > 0 and record.shape[:2] == (part.height, part.width)
    crop = crops.crop(record, part, WIDE, augment.crop_affine(box, HEIGHT, WIDTH, 1.2, 30.0, True))
    assert (crop == augment.MEAN_COLOUR).all()


# Records


@pytest.mark.parametrize("name", ["wide raw", "wide reduced", "narrow raw"])
def test_records_lead_back_to_the_image(source: Path, made: Made, name: str) -> None:
    """A record's own matrix, by a restatement of the crop's, and by the pixels that it leads to."""
    form = made[name].form
    assert form is not None
    (shard, *_) = made[name].shards
    reader = records.Reader(made[name])
    names = {image["id"]: image["file_name"] for image in
             json.loads((source / "annotations/person_keypoints_train.json").read_text())["images"]}  # fmt: skip
    for position in range(shard.examples):
        record = features(reader, position)
        image = cv2.imread(str(source / "images/train" / names[record["image_id"][0]]))[..., ::-1]
        assert (record["height"][0], record["width"][0]) == image.shape[:2]
        part = crops.stored(record)
        if name == "narrow raw":
            x, y, w, h = record["box"].astype(float)
            zoom = 1.25 * max(h, w * HEIGHT / WIDTH) / HEIGHT
            points = np.random.default_rng(position).uniform(0, 300, (50, 2))
            expected = np.array([x + w / 2, y + h / 2]) + zoom * (points - [WIDTH / 2, HEIGHT / 2])
            assert np.abs(augment.apply(part.back, points) - expected).max() < 0.01
        pixels = crops.decoded(record["image"], form, part)
        assert pixels.shape == (*record["size"], 3)
        matrix = augment.inverse(part.back)
        there = cv2.warpAffine(
            image, matrix, (part.width, part.height), flags=cv2.INTER_LINEAR, borderValue=(124, 116, 104)
        )
        assert np.abs(pixels.astype(int) - there).mean() < 0.05


@pytest.mark.parametrize("name", ["narrow", "narrow raw", "wide", "wide raw", "wide reduced"])
def test_persons_are_the_same_as_those_of_whole_images(made: Made, name: str) -> None:
    augmentation = TRAINING if name.startswith("wide") else FLIP_ONLY
    options: dict[str, Any] = {"augmentation": augmentation, "seed": 4, "shuffle": True}
    whole, cropped = read(made["images"], **options), read(made[name], **options)
    for field in set(whole) - {"image"}:
        np.testing.assert_array_equal(whole[field], cropped[field], field)
    assert len(whole["image"]) > 30


def test_a_flip_only_record_is_the_crop(made: Made) -> None:
    whole = read(made["images"])["image"]
    reader = records.Reader(made["narrow raw"])
    for position, crop in enumerate(whole):
        np.testing.assert_array_equal(features(reader, position)["image"], crop.ravel())
    np.testing.assert_array_equal(read(made["narrow raw"])["image"], whole)
    flipped = {
        name: read(made[name], augmentation=FLIP_ONLY.model_copy(update={"flip": 1.0}))["image"]
        for name in ("images", "narrow raw")
    }
    np.testing.assert_array_equal(flipped["narrow raw"], whole[:, :, ::-1])
    assert difference(flipped["images"], whole[:, :, ::-1]).mean() < 0.5, "OpenCV rounds coordinates"


@pytest.mark.parametrize(
    ("name", "most"), [("narrow", MOST), ("wide", MOST), ("wide raw", 0.5), ("wide reduced", 3), ("narrow raw", 0.5)]
)
def test_pixels_differ_little_from_those_of_whole_images(made: Made, name: str, most: float) -> None:
    """Raw ones only where coordinates are rounded, or people are reduced, to whom the bound does not apply: most are larger than the crop."""
    augmentation = TRAINING if name.startswith("wide") else FLIP_ONLY
    found: list[float] = []
    for seed in range(2):
        whole, other = (
            read(manifest, augmentation=augmentation, seed=seed)["image"] for manifest in (made["images"], made[name])
        )
        found += list(difference(whole, other))
    assert np.mean(found) <= most
    assert np.max(found) < 4 * MOST, "nobody is somewhere else"


@pytest.mark.parametrize(("encoding", "most"), [("jpeg", MOST), ("raw", 0.01)])
@pytest.mark.parametrize("height", [256, 128])
def test_grain_is_that_of_whole_images(tmp_path: Path, encoding: str, most: float, height: int) -> None:
    """Photographs of nothing but grain, and people of 80 to 400 pixels: what is interpolated twice would be smooth."""
    pictures.make(tmp_path, 4)
    size = {"height": height, "width": height * 3 // 4}
    cropped = ConversionSettings(records="crops", crop_encoding=encoding)
    manifests = [
        pictures.converted(tmp_path, "images", ConversionSettings()),
        pictures.converted(tmp_path, "crops", cropped, TRAINING.reach(**size)),
    ]
    whole, other = (
        read(records.read_manifest(manifest), augmentation=TRAINING, **size)["image"] for manifest in manifests
    )
    assert difference(whole, other).mean() <= most


def test_what_is_outside_of_the_image_is_the_mean_colour(tmp_path: Path) -> None:
    """A box at the border, turned and enlarged: the same pixels are mean colour in both forms."""
    image = np.full((60, 50, 3), 255, np.uint8)
    box = [-10.0, 20.0, 30.0, 50.0]
    record, part = crops.cut(image, box, form_of(WIDE))
    for draw in (augment.UNCHANGED, augment.Draw(True, 1.3, 80.0), augment.Draw(False, 0.7, -41.0)):
        whole, _, affine = augment.crop(image, np.zeros((17, 3), np.float32), box, HEIGHT, WIDTH, COCO_KEYPOINTS, draw)
        cropped = crops.crop(record, part, WIDE, affine)
        outside = (whole == augment.MEAN_COLOUR).all(axis=2)
        assert 0.1 < outside.mean() < 0.9
        np.testing.assert_allclose(cropped.astype(int), whole, atol=1)


# Conversion


def test_the_manifest_says_what_crops_are_made_for(made: Made) -> None:
    content = json.loads(made["wide"].path.read_text())
    reach = {"height": HEIGHT, "width": WIDTH, "scale": 1.3, "rotation": 80.0}
    assert content["records"] == "crops"
    assert content["crops"] == {"reach": reach, "encoding": "jpeg", "quality": 92, "resolution": 4.0}
    assert made["wide"].form == crops.Form(reach=WIDE, encoding="jpeg", quality=92, resolution=4.0)
    assert json.loads(made["narrow"].path.read_text())["crops"]["quality"] == 96
    assert form_of(NARROW, crop_resolution=7).resolution == 1, "whatever is configured, the record is the crop"
    raw = json.loads(made["narrow raw"].path.read_text())["crops"]
    assert (raw["encoding"], raw["quality"], raw["reach"]["scale"]) == ("raw", None, 1.0)
    assert (
        json.loads(made["wide reduced"].path.read_text())["crops"]["resolution"]
        == made["wide reduced"].form.resolution
        == 1
    )
    assert "crops" not in json.loads(made["images"].path.read_text()) and made["images"].form is None


def test_the_quality_is_the_configured_one(source: Path, made: Made, tmp_path: Path) -> None:
    def size(manifest: records.Manifest) -> int:
        return sum(shard.path.stat().st_size for shard in manifest.shards)

    assert size(converted(source, tmp_path, NARROW, jpeg_quality=50)) < size(made["narrow"]) / 2
    for reach in (NARROW, WIDE):
        asked = ConversionSettings(records="crops", jpeg_quality=50)
        assert crops.wanted(asked, reach) == crops.Form(
            reach=reach, encoding="jpeg", quality=50, resolution=1.0 if reach == NARROW else 4.0
        )


@pytest.mark.parametrize(("reach", "sampling"), [(NARROW, 0), (WIDE, 2)])
def test_only_final_crops_have_all_of_the_colour(reach: Reach, sampling: int) -> None:
    """0: 4:4:4, 2: 4:2:0, as most images have it."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    content = crops.encode(pixels, crops.wanted(ConversionSettings(records="crops"), reach))
    assert PIL.JpegImagePlugin.get_sampling(PIL.Image.open(io.BytesIO(content))) == sampling


def test_workers_write_the_same_bytes(source: Path, made: Made, tmp_path: Path) -> None:
    other = converted(source, tmp_path, WIDE, mode="multi_processing", workers=2)
    digests = [
        [hashlib.sha256(shard.path.read_bytes()).hexdigest() for shard in manifest.shards]
        for manifest in (made["wide"], other)
    ]
    assert digests[0] == digests[1] and len(digests[0]) > 1


@pytest.mark.parametrize(("kind", "reach"), [("crops", None), ("images", WIDE)])
def test_only_crops_have_a_reach(source: Path, tmp_path: Path, kind: Any, reach: Reach | None) -> None:
    with pytest.raises(ConfigError, match=rf"^train: records of {kind} .*--reach"):
        convert(
            tmp_path / "manifest.json",
            annotations=source / "annotations/person_keypoints_train.json",
            images=source / "images/train",
            split="train",
            purpose="training",
            schema=COCO_KEYPOINTS,
            settings=ConversionSettings(records=kind),
            reach=reach,
        )


# What does not fit


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"height": 104}, "crops of 104x72 with"),
        ({"width": 64}, "crops of 96x64 with"),
        ({"augmentation": Augmentation(scale_limit=0.31)}, "scales up to 1.31"),
        ({"augmentation": Augmentation(rotation_limit=81.0)}, "rotations up to 81"),
    ],
)
def test_what_reaches_further_is_refused(made: Made, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        records.dataset(made["wide"], batch=1, **(SIZE | options))
    message = str(caught.value)
    assert message.startswith(
        f"{made['wide'].path}: made for crops of 96x72 with scales up to 1.3 and rotations up to 80;"
    )
    assert named in message and "conversion.records: images" in message
    assert records.dataset(made["images"], batch=1, **(SIZE | options)) is not None


def test_what_reaches_less_is_served(made: Made) -> None:
    for augmentation in (None, FLIP_ONLY, Augmentation(scale_limit=0.2, rotation_limit=10.0)):
        assert read(made["wide"], augmentation=augmentation)["weight"].all()
    with pytest.raises(ConfigError, match="scales up to 1 and rotations up to 0;"):
        records.dataset(made["narrow"], batch=1, augmentation=Augmentation(scale_limit=0.1, rotation_std=0), **SIZE)


def test_half_bodies_are_refused(made: Made) -> None:
    half = FLIP_ONLY.model_copy(update={"half_body_probability": 0.1})
    with pytest.raises(ConfigError, match=r"half_body_probability: 0\.1\); .*conversion\.records: images"):
        records.dataset(made["wide"], batch=1, augmentation=half, **SIZE)


JPEG = cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))[1].tobytes()


def example(content: bytes, **of_crops: Any) -> bytes:
    """A record of an image or crop."""
    person = {"box": np.array([1.0, 2, 3, 4]), "keypoints": np.zeros(51), "score": np.ones(1)}
    ids = {name: np.array([7]) for name in ("image_id", "annotation_id", "height", "width")}
    return encode_example({"image": content} | person | ids | of_crops)


PLACED = {"affine": np.eye(2, 3), "size": np.array([HEIGHT, WIDTH])}


@pytest.mark.parametrize("reach", [NARROW, WIDE])
@pytest.mark.parametrize(
    ("encoding", "content", "problem"),
    [
        ("raw", b"12", "the crop has 2 bytes, 20736 are expected"),
        ("raw", b"", "the crop has 0 bytes, 20736 are expected"),
        ("jpeg", b"12", "the crop cannot be decoded"),
        ("jpeg", b"", "the crop cannot be decoded"),
        ("jpeg", JPEG, "the crop has 96x73 pixels, 96x72 are expected"),
    ],
)
def test_damaged_crops_are_named(
    made: Made, tmp_path: Path, encoding: Any, content: bytes, problem: str, reach: Reach
) -> None:
    good = features(records.Reader(made["narrow"]), 0)["image"].tobytes()
    with (tmp_path / "00000-of-00001.tfrecord").open("wb") as stream:
        for image in (good, content)[encoding == "raw" :]:
            write_record(stream, example(image, **PLACED))
    shard = records.Shard(tmp_path / "00000-of-00001.tfrecord", 1 + (encoding == "jpeg"))
    other = crops.Form(reach=reach, encoding=encoding, quality=None, resolution=4.0)
    manifest = dataclasses.replace(made["narrow"], path=tmp_path / "manifest.json", shards=(shard,), form=other)
    with pytest.raises(DataError) as caught:
        read(manifest, batch=2)
    where = f"{shard.path}, record {shard.examples - 1} (image 7)"
    assert str(caught.value).startswith(f"{where}: {problem}; run the conversion again: ")


@pytest.mark.parametrize(
    "of_crops",
    [
        {"affine": np.eye(2, 3)},  # of a former version
        {"size": PLACED["size"]},
        PLACED | {"size": np.array([HEIGHT])},
        PLACED | {"size": np.array([HEIGHT, WIDTH, 3])},
        PLACED | {"affine": np.zeros(5)},
        PLACED | {"affine": np.array([1])},
        PLACED | {"size": np.array([0, WIDTH])},
        PLACED | {"size": np.array([-HEIGHT, -WIDTH])},
        PLACED | {"size": np.array([96.0, 72.0])},
        PLACED | {"affine": np.zeros(6)},
        PLACED | {"affine": np.array([1, 0, np.inf, 0, 1, 0])},
        PLACED | {"affine": np.full(6, np.nan)},
        PLACED | {"box": np.array([0, 0, np.inf, np.inf])},
        PLACED | {"box": np.array([np.nan, 0, 9, 9])},
        PLACED | {"image": np.array([1, 2])},
        PLACED | {"image": np.array([1.0, 2])},
    ],
)
def test_records_that_cannot_be_placed_in_the_image_are_named(
    made: Made, tmp_path: Path, of_crops: dict[str, Any]
) -> None:
    with (tmp_path / "00000-of-00001.tfrecord").open("wb") as stream:
        write_record(stream, example(bytes(3 * HEIGHT * WIDTH), **of_crops))
    shard = records.Shard(tmp_path / "00000-of-00001.tfrecord", 1)
    other = crops.Form(reach=WIDE, encoding="raw", quality=None, resolution=4.0)
    manifest = dataclasses.replace(made["wide"], path=tmp_path / "manifest.json", shards=(shard,), form=other)
    with pytest.raises(
        ArtifactError, match=r"record 0: (not a record of this workflow|its box is) .*; run the conversion again"
    ):
        read(manifest, batch=1)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"encoding": "gif"}, "crops.encoding: Input should be 'jpeg' or 'raw' (given: 'gif')"),
        ({"encoding": None}, "crops.encoding: Input should be 'jpeg' or 'raw' (given: None)"),
        ({"reach": {"height": 8}}, "crops.reach.width: Field required"),
        ({"reach": {"height": 8, "width": 8, "scale": 0.5}}, "crops.reach.scale: Input should be greater than"),
        ({"reach": None}, "crops.reach.height: Field required"),
        ({"quality": "90"}, "crops.quality: an integer is expected"),
        ({"resolution": None}, "crops.resolution: a number is expected"),
        ({"resolution": math.nan}, "crops.resolution: Input should be a finite number"),
        ({"resolution": ...}, "crops.resolution: Field required"),
        ({"colours": 3}, "crops.colours: unknown key"),
    ],
)
def test_a_damaged_description_of_crops_is_named(
    made: Made, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    """...: it has no such key."""
    content = json.loads(made["narrow"].path.read_text())
    content["crops"] = {key: value for key, value in (content["crops"] | change).items() if value is not ...}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError) as caught:
        records.read_manifest(tmp_path / "manifest.json")
    begin = f"{tmp_path / 'manifest.json'}: not a manifest of records: {problem}"
    assert str(caught.value).startswith(begin)
    assert "; run the conversion again" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("narrow", {"crops": None}, "records: crops, without a description of crops"),
        ("narrow", {"records": "images"}, "records: images, with a description of crops"),
        ("images", {"records": "crops"}, "records: crops, without a description of crops"),
    ],
)
def test_records_and_their_description_are_of_one_kind(
    made: Made, tmp_path: Path, name: str, change: dict[str, Any], problem: str
) -> None:
    content = json.loads(made[name].path.read_text()) | change
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=rf"manifest\.json: not a manifest of records: {problem}; run the conv"):
        records.read_manifest(tmp_path / "manifest.json")


def test_the_default_quality_keeps_the_grain_of_photographs() -> None:
    """Grain as strong as it can be in a JPEG of COCO's size."""
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(128, 31, (480, 640, 1)) + rng.uniform(-90, 90, 3), 0, 255).astype(np.uint8)
    image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_COLOR_RGB)
    final = form_of(NARROW)
    found = []
    for height in range(80, 400, 40):
        pixels, part = crops.cut(image, [100.0, 40.0, height / 2, height], form_of(NARROW))
        kept = crops.decoded(np.frombuffer(crops.encode(pixels, final), np.uint8), final, part)
        found.append(np.abs(kept.astype(int) - pixels).mean())
    assert np.mean(found) <= MOST


@pytest.mark.slow
def test_a_network_measures_the_same_on_both(tmp_path: Path) -> None:
    """It has seen the pictures while it trained, so that its AP means something after a minute.

    There are 549 people: with fifty, chance alone moves the AP by a point.
    """
    from pipeline_lib.evaluate.coco import evaluate
    from pipeline_lib.evaluate.predict import on_crops, predict
    from pipeline_lib.nets import build_architecture, files
    from pipeline_lib.nets.spec import Architecture, initial_weights
    from pipeline_lib.train import trainer

    design = Architecture(
        genotype=[[1, 3, 2, 1], [1, 3, 3, 2], [1, 3, 4, 2], [1, 3, 6, 1], [1, 3, 6, 1], [1, 3, 8, 1], [1, 3, 8, 1]],
        height=HEIGHT, width=WIDTH, expansion=(2,) * 7, stem=16, head=48, head_layers=1,
    )  # fmt: skip
    source = tmp_path / "source"
    synthesize(SyntheticConfig(train_images=240, val_images=1), 3, source)
    made = {"images": converted(source, tmp_path / "images"), "narrow": converted(source, tmp_path / "narrow", NARROW)}
    settings = TrainSettings(
        epochs=16,
        batch=8,
        base_rate=0.02,
        batch_norm_momentum=0.9,
        stochastic_depth=0.0,
        l2=0.0,
        keep="last",
        cpu_threads=2,
        augmentation=FLIP_ONLY.model_copy(update={"flip": 0.0}),
    )
    files.save(tmp_path / "initial.safetensors", design, initial_weights(design, 1))
    trainer.train(
        initial=tmp_path / "initial.safetensors",
        train_manifest=made["narrow"].path,
        val_manifest=made["images"].path,
        weights=tmp_path / "weights.safetensors",
        history=tmp_path / "history.csv",
        settings=settings,
        seed=1,
        device="cpu",
    )
    network = on_crops(build_architecture(design, weights=files.load(tmp_path / "weights.safetensors")[1]))
    annotations = json.loads((source / "annotations/person_keypoints_train.json").read_text())
    precision = {}
    for name in ("images", "narrow"):
        batches = records.dataset(made[name], batch=16, metadata=True, threads=2, **SIZE).as_numpy_iterator()
        found = predict(network, batches, schema=COCO_KEYPOINTS, settings=EvaluationConfig(flip_test="off"), examples=1)
        precision[name] = evaluate(annotations, found, COCO_KEYPOINTS.sigmas)["metrics"]["AP"]
    assert precision["images"] > 0.6, precision
    assert precision["narrow"] == pytest.approx(precision["images"], abs=0.01), precision
