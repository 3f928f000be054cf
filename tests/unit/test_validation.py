"""Validation of data sets: every kind of fault in real files, every policy, exact counts; what comes of it in records."""

import io
import json
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from pipeline_lib import config
from pipeline_lib.config import ConversionSettings, EvaluationConfig, Reach, ValidationConfig
from pipeline_lib.config.validation import allowed
from pipeline_lib.data import coco, coco_json, records, validation, verdict
from pipeline_lib.data.convert import convert
from pipeline_lib.data.validation import validate, validate_detections
from pipeline_lib.data.verdict import Verdict
from pipeline_lib.errors import ArtifactError, DataError
from pipeline_lib.evaluate.coco import evaluate
from pipeline_lib.evaluate.refine import refine
from pipeline_lib.plots import overlays
from tests.unit import made_faults
from tests.unit.made_faults import FAULTS, FAULTY, HEIGHT, OTHER, POINTS, WIDTH, Data, Fault, data
from tests.unit.test_config import changed, message

ROOT = Path(__file__).parents[2]
ALL = [(kind, name) for kind, faults in FAULTS.items() for name in faults]
OF_IMAGE = "of_dropped_image"
DETECTIONS = ("malformed_detection", "detection_of_unknown_image")


def made(folder: Path, *faults: Fault) -> Data:
    found = data(folder)
    for fault in faults:
        fault.make(found)
    found.write()
    return found


def judged(found: Data, **policies: str) -> tuple[Verdict, Verdict]:
    """The verdicts on annotations and on detections."""
    settings = ValidationConfig(**policies)
    of_annotations = validate(found.annotations, POINTS, settings, images=found.folder)
    return of_annotations, validate_detections(found.detected, found.annotations, settings, of_annotations)


def places(one: Verdict, two: Verdict) -> dict[str, list[int]]:
    """{list: the places that are left out}."""
    dropped = {**one.dropped, **two.dropped}
    return {
        which: sorted(place for entries in kinds.values() for place, _ in entries)
        for which, kinds in dropped.items()
        if kinds
    }


def numbers(*verdicts: Verdict) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in verdicts:
        found.update({kind: entry.number for kind, entry in one.found.items()})
    return dict(found)


def test_every_kind_has_a_fault_here_and_a_remedy() -> None:
    assert FAULTS.keys() == ValidationConfig.model_fields.keys() == validation.REMEDIES.keys()


def test_a_data_set_without_faults(tmp_path: Path) -> None:
    of_annotations, of_detections = judged(made(tmp_path))
    for one in (of_annotations, of_detections):
        assert not one.found and not one.dropped and not one.repaired and not one.rewritten
    assert (of_annotations.entries, of_detections.entries) == ({"images": 3, "annotations": 6}, {"detections": 3})
    assert of_annotations.digests.keys() == {1, 2, 3} and len(set(of_annotations.digests.values())) == 3
    content = {"images": [1], "annotations": [2], "info": 3}
    assert of_annotations.applied(content) == content


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_what_is_fatal_is_one_sentence_with_file_item_and_remedy(tmp_path: Path, kind: str, name: str) -> None:
    fault = FAULTS[kind][name]
    with pytest.raises(DataError) as caught:
        judged(made(tmp_path, fault), **{kind: "fatal"})
    text = str(caught.value)
    assert text.startswith(str(tmp_path)) and fault.said in text and "\n" not in text
    others = " or ".join(policy for policy in allowed(kind) if policy != "fatal")
    assert text.endswith(f"; {validation.REMEDIES[kind]}, or set dataset.validation.{kind} to {others}")


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_what_is_dropped_is_counted_and_gone(tmp_path: Path, kind: str, name: str) -> None:
    fault = FAULTS[kind][name]
    found = made(tmp_path, fault)
    verdicts = judged(found, **{kind: "drop"})
    left_out = dict(fault.dropped)
    if "images" in left_out and kind != "duplicate_image_id":
        left_out |= {"detections": [FAULTY]}
    assert places(*verdicts) == left_out
    with_it = {OF_IMAGE: 3} if "detections" in left_out and "images" in left_out else {}
    assert numbers(*verdicts) == {kind: 1} | with_it
    (one,) = (one.found[kind] for one in verdicts if kind in one.found)
    assert one.policy == "drop" and len(one.examples) == 1 and fault.said in one.examples[0]
    content = verdict.read_content(found.annotations, verdicts[0])
    for which, entries in json.loads(found.annotations.read_text()).items():
        if which in ("images", "annotations"):
            kept = [entry for place, entry in enumerate(entries) if place not in left_out.get(which, ())]
            assert content[which] == kept or "NaN" in json.dumps(kept)
    people = coco.ground_truth(found.annotations, POINTS, training=False, verdict=verdicts[0]).people
    assert len(people) == len(content["annotations"])
    detected = coco.detections(
        found.detected, found.annotations, POINTS, verdict=verdicts[0], of_detections=verdicts[1]
    ).people
    assert len(detected) == len(found.detections) - len(left_out.get("detections", ()))


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name in ALL if FAULTS[kind][name].repaired is not None]
)
def test_what_is_repaired_is_counted_and_has_the_values_that_count(tmp_path: Path, kind: str, name: str) -> None:
    fault = FAULTS[kind][name]
    found = made(tmp_path, fault)
    verdicts = judged(found, **{kind: "repair"})
    assert places(*verdicts) == {} and numbers(*verdicts) == {kind: 1}
    assert verdicts[0].repaired == fault.repaired and verdicts[0].found[kind].policy == "repair"
    content = verdict.read_content(found.annotations, verdicts[0])
    for which, entries in (fault.repaired or {}).items():
        for place, values in entries.items():
            assert content[which][place] == found.content[which][place] | values
    people = coco.ground_truth(found.annotations, POINTS, training=False, verdict=verdicts[0]).people
    assert len(people) == len(content["annotations"])


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, name in ALL if FAULTS[kind][name].accepted])
def test_what_is_accepted_is_counted_and_stays_as_it_is(tmp_path: Path, kind: str, name: str) -> None:
    verdicts = judged(made(tmp_path, FAULTS[kind][name]), **{kind: "accept"})
    assert places(*verdicts) == {} and numbers(*verdicts) == {kind: 1}
    assert not verdicts[0].repaired and not verdicts[0].rewritten and verdicts[0].digests.keys() == {1, 2, 3}


@pytest.mark.parametrize("kind", FAULTS)
def test_policies_without_a_meaning_are_refused_with_the_configuration(kind: str) -> None:
    faults = FAULTS[kind].values()
    meaningful = {"fatal", "drop"}
    meaningful |= {"repair"} if any(fault.repaired is not None for fault in faults) else set()
    meaningful |= {"accept"} if any(fault.accepted for fault in faults) else set()
    for policy in ("fatal", "drop", "repair", "accept", "ignore"):
        raw = changed(dataset__validation={kind: policy})
        if policy in meaningful:
            assert getattr(config.load(raw).dataset.validation, kind) == policy
        else:
            text = message(raw)
            assert text.startswith(f"dataset.validation.{kind}: ") and f"given: '{policy}'" in text
            assert all(f"'{one}'" in text for one in meaningful)


def test_an_unknown_kind_is_refused() -> None:
    text = message(changed(dataset__validation={"blurred_image": "drop"}))
    assert text.startswith("dataset.validation.blurred_image: unknown key, ") and text.endswith(
        "correct it or leave it out"
    )


def test_defaults_stop_at_damage_and_go_on_with_what_is_sound() -> None:
    defaults = ValidationConfig().model_dump()
    assert {kind for kind, policy in defaults.items() if policy != "fatal"} == {
        *(
            "cmyk_image",
            "sixteen_bit_image",
            "progressive_image",
            "exif_rotated_image",
            "other_category",
            "box_outside",
        ),
        *("missing_area", "detection_of_unknown_image"),
    }


def test_every_fault_is_counted_and_the_first_five_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = data(tmp_path)
    for number in range(10, 17):  # seven images that are cut short, of a person each
        picture = found.picture(number)
        picture.write_bytes(found.picture(1).read_bytes()[:-7])
        found.content["images"].append({"id": number, "file_name": picture.name, "height": HEIGHT, "width": WIDTH})
        found.content["annotations"].append({**found.content["annotations"][0], "id": number * 100, "image_id": number})
    found.content["annotations"][0]["area"] = -2
    found.content["annotations"][1]["area"] = None
    found.content["annotations"][4]["area"] = None
    found.write()
    verdicts = judged(found, truncated_image="drop", invalid_area="repair")
    assert numbers(*verdicts) == {"truncated_image": 7, OF_IMAGE: 7, "invalid_area": 1, "missing_area": 2}
    one = verdicts[0].found["truncated_image"]
    assert [Path(example.partition(":")[0]).name for example in one.examples] == [f"{n}.jpg" for n in range(10, 15)]
    assert [place for place, _ in verdicts[0].dropped["images"]["truncated_image"]] == list(range(3, 10))
    assert [identity for _, identity in verdicts[0].dropped["images"]["truncated_image"]] == list(range(10, 17))
    assert verdicts[0].left_out() == {"images": 7, "persons": 7}
    assert "truncated_image: 7 (drop)" in caplog.text and caplog.text.count("image file is truncated") == 5
    with pytest.raises(DataError, match=r"10\.jpg.* to drop \(besides 6 more such; the log names examples\)$"):
        judged(found, invalid_area="repair")
    with pytest.raises(
        DataError, match=r"annotations\[0\].*area is -2.* \(besides 2 missing_area; the log names examples\)$"
    ):
        judged(found, missing_area="fatal")


def test_annotations_are_looked_at_before_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(tmp_path, FAULTS["unknown_image"]["none"])
    monkeypatch.setattr(validation, "look", lambda content: pytest.fail("an image was decoded for nothing"))
    with pytest.raises(DataError, match="image_id is 99"):
        judged(found)


def test_the_number_of_workers_changes_nothing_and_progress_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = made(tmp_path, *(FAULTS[kind]["JPEG"] for kind in ("progressive_image",)), FAULTS["missing_area"]["null"])
    monkeypatch.setattr(validation, "IMAGES_AHEAD", 1)
    monkeypatch.setattr(validation, "PROGRESS_SECONDS", 0)
    one, two = (
        validate(found.annotations, POINTS, ValidationConfig(), images=found.folder, workers=workers)
        for workers in (1, 2)
    )
    assert one == two and one.found.keys() == {"missing_area", "progressive_image"}
    assert "looked at 2 of 3 images, " in caplog.text and "looked at 3 of 3 images, " in caplog.text


WRONG_FILES = {
    "nothing": (b"", "not JSON"),
    "half": (b'{"images": [', "not JSON"),
    "binary": (b"\xff\xfe\x00", "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "long number": (b'{"images": ' + b"9" * 5000 + b"}", "not JSON"),
    "a list": (b"[]", "not a COCO file"),
    "a number": (b"5", "not a COCO file"),
    "captions": (b'{"info": {}, "captions": []}', "not a COCO file"),
    "images of another kind": (
        b'{"images": {"1": {}}, "annotations": []}',
        "not a COCO keypoint file: `images` must be a list",
    ),
    "no annotations": (b'{"images": []}', "not a COCO keypoint file: `annotations` must be a list"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_files_that_are_not_coco_always_stop(tmp_path: Path, name: str) -> None:
    content, said = WRONG_FILES[name]
    found = made(tmp_path)
    found.annotations.write_bytes(content)
    drops = ValidationConfig(**dict.fromkeys(ValidationConfig.model_fields, "drop"))
    with pytest.raises(DataError) as caught:
        validate(found.annotations, POINTS, drops, images=found.folder)
    assert str(caught.value).startswith(f"{found.annotations}: {said}") and "\n" not in str(caught.value)
    if name in ("nothing", "half", "binary", "deep", "long number"):
        found.write()
        found.detected.write_bytes(content)
        with pytest.raises(DataError, match=r"detections\.json: not JSON"):
            validate_detections(found.detected, found.annotations, drops)


def test_a_mark_of_utf_8_before_the_json_is_read_over(tmp_path: Path) -> None:
    """As Windows' editors and exports write it."""
    found = made(tmp_path)
    found.write()
    for path in (found.annotations, found.detected):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    strict = ValidationConfig()
    assert validate(found.annotations, POINTS, strict, images=found.folder)
    assert validate_detections(found.detected, found.annotations, strict)


def test_another_encoding_is_named_with_the_right_one(tmp_path: Path) -> None:
    found = made(tmp_path)
    found.annotations.write_bytes(found.annotations.read_text().encode("utf-16"))
    with pytest.raises(DataError, match=r"not JSON in UTF-8 \(.*\); save it in UTF-8"):
        validate(found.annotations, POINTS, ValidationConfig(), images=found.folder)


def test_a_folder_of_images_and_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    found = made(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder of images"):
        validate(found.annotations, POINTS, ValidationConfig(), images=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no\.json: no such file"):
        validate(tmp_path / "no.json", POINTS, ValidationConfig(), images=tmp_path)


def test_image_lists_have_no_annotations(tmp_path: Path) -> None:
    found = made(tmp_path, FAULTS["empty_image"]["zero bytes"])
    del found.content["annotations"]
    found.write()
    policies = ValidationConfig(empty_image="drop")
    one = validate(found.annotations, POINTS, policies, images=found.folder, annotated=False)
    assert one.entries == {"images": 3, "annotations": 0} and one.number_dropped("images") == {"empty_image": 1}
    assert [image.image_id for image in coco.images(found.annotations, one)] == [1, 3]
    assert numbers(validate_detections(found.detected, found.annotations, policies, one)) == {OF_IMAGE: 1}


def test_a_person_with_several_faults_is_counted_for_each_that_is_repaired(tmp_path: Path) -> None:
    found = data(tmp_path)
    person = found.content["annotations"][OTHER]
    person |= {"keypoints": [float("nan"), 6, 2, 7, 8, 5], "area": float("nan"), "id": 10, "bbox": [0, 0, 41, 20]}
    found.write()
    kinds = ("duplicate_annotation_id", "invalid_keypoint", "invalid_visibility", "invalid_area", "box_outside")
    one, _ = judged(found, **dict.fromkeys(kinds, "repair"))
    assert numbers(one) == dict.fromkeys(kinds, 1)
    repaired = {"id": 1, "keypoints": [0, 0, 0, 7, 8, 2], "num_keypoints": 1, "area": 820.0}
    assert one.repaired == {"annotations": {OTHER: repaired}}
    # Once dropped, nothing of it is repaired, and it is counted for nothing that comes later.
    one, _ = judged(found, **dict.fromkeys(kinds, "repair") | {"invalid_visibility": "drop"})
    assert numbers(one) == dict.fromkeys(kinds[:3], 1)
    assert one.repaired == {} and one.number_dropped("annotations") == {"invalid_visibility": 1}


@pytest.mark.parametrize("box", [[40, 5, 5, 5], [39.5, 5, 5, 5], [-9, 5, 8, 5], [5, 30, 5, 5], [5, -20, 5, 5]])
def test_a_person_of_whose_box_nothing_is_in_the_image_is_filtered_but_evaluated(
    tmp_path: Path, box: list[float]
) -> None:
    found = made(tmp_path, Fault(made_faults.annotation(bbox=box), "", {}))
    one, _ = judged(found)
    assert numbers(one) == {"box_outside": 1} and one.left_out() == {"images": 0, "persons": 0}
    selection = coco.ground_truth(found.annotations, POINTS, training=False, verdict=one)
    assert len(selection.people) == 5 and selection.dropped == {"invalid_box": 1}
    # As by COCO's server: AP is of the annotations as they are.
    assert one.evaluated(coco_json.read(found.annotations), 2) == found.content


@pytest.mark.parametrize("box", [[0, 0, 40, 30], [20.01, 10, 19.99 + 0.005, 20], [0, 0, 0, 0]])
def test_boxes_within_the_image_are_no_fault(tmp_path: Path, box: list[float]) -> None:
    one, _ = judged(made(tmp_path, Fault(made_faults.annotation(bbox=box), "", {})), box_outside="fatal")
    assert numbers(one) == {}


def test_boxes_are_compared_with_the_size_that_counts(tmp_path: Path) -> None:
    found = made(
        tmp_path, Fault(made_faults.image(width=80), "", {}), Fault(made_faults.annotation(bbox=[30, 3, 30, 9]), "", {})
    )
    one, _ = judged(found, size_mismatch="repair")
    assert numbers(one) == {"size_mismatch": 1, "box_outside": 1}


# What becomes of pixels


def converted(found: Data, one: Verdict, **settings: Any) -> tuple[Path, list[dict[str, Any]]]:
    """(manifest, records by the parser of this library) of the annotated people."""
    manifest = found.folder / "records" / "manifest.json"
    reach = settings.pop("reach", None)
    convert(
        manifest, annotations=found.annotations, images=found.folder, split="train", purpose="training", schema=POINTS,
        settings=ConversionSettings(**settings), verdict=one, reach=reach,
    )  # fmt: skip
    reader = records.Reader(records.read_manifest(manifest))
    return manifest, list(reader.features(range(reader.manifest.examples)))


def crops(manifest: Path) -> np.ndarray:
    """What a training sees of all people."""
    batches = records.dataset(manifest, height=24, width=32, batch=6)
    return np.concatenate([batch[0] for batch in batches.as_numpy_iterator()])


@pytest.mark.parametrize("kind", ["cmyk_image", "sixteen_bit_image"])
@pytest.mark.parametrize("form", ["images", "crops"])
def test_repaired_images_are_trained_on_as_8_bit_rgb(tmp_path: Path, kind: str, form: str) -> None:
    (fault,) = FAULTS[kind].values()
    plain, repaired = made(tmp_path / "plain"), made(tmp_path / "repaired", fault)
    plain.picture(FAULTY + 1).write_bytes(
        made_faults.encoded(PIL.Image.fromarray(made_faults.pixels(FAULTY + 1)), "PNG")
    )
    settings: dict[str, Any] = {"records": form}
    if form == "crops":
        settings |= {"crop_encoding": "raw", "reach": Reach(height=24, width=32)}
    verdicts = [judged(found)[0] for found in (plain, repaired)]
    assert verdicts[1].rewritten == {2: "plain"} and not verdicts[0].rewritten
    (first, _), (second, found) = (
        converted(data_set, one, **settings) for data_set, one in zip((plain, repaired), verdicts, strict=True)
    )
    difference = np.abs(crops(first).astype(int) - crops(second))
    # The high bytes of 16 bits are the picture; JPEG and the change of colours cost a little.
    assert difference.max() <= (0 if kind == "sixteen_bit_image" else 24)
    assert difference.mean() < 2
    if form == "images":
        stored = [PIL.Image.open(stream) for stream in map(_stream, found)]
        assert [picture.mode for picture in stored] == ["RGB"] * 6
        assert [picture.format for picture in stored] == ["JPEG"] * 2 + ["PNG"] * 2 + ["JPEG"] * 2
        assert stored[0].tobytes() == PIL.Image.open(repaired.picture(1)).tobytes()


def _stream(record: dict[str, Any]) -> Any:
    return io.BytesIO(record["image"].tobytes())


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_ignored_or_applied(tmp_path: Path, orientation: int, kind: str) -> None:
    found = data(tmp_path)
    path = found.picture(FAULTY + 1)
    path.write_bytes(made_faults.oriented(orientation, kind)(b""))
    with PIL.Image.open(path) as stored:
        shown = np.asarray(PIL.ImageOps.exif_transpose(stored).convert("RGB"))
        as_it_is = np.asarray(stored.convert("RGB"))
    found.write()
    accepted = judged(found)[0]
    assert numbers(accepted) == {"exif_rotated_image": 1} and not accepted.rewritten
    _, seen = converted(found, accepted)
    assert seen[2]["image"].tobytes() == path.read_bytes()
    assert _close(cv2.imdecode(seen[2]["image"], cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION), as_it_is)

    transposed = orientation > 4
    if transposed:  # a data set whose annotations are of the picture as it is shown
        with pytest.raises(
            DataError,
            match=rf"40x30 .* says 30x40, as its EXIF orientation {orientation} has it stored: .*: accept reads it so",
        ):
            judged(found, exif_rotated_image="repair")  # fmt: skip
        found.content["images"][FAULTY] |= {"height": WIDTH, "width": HEIGHT}
        found.write()
        with pytest.raises(
            DataError,
            match=rf"30x40 .* says 40x30, as its EXIF orientation {orientation} has it shown: .*: repair reads it so",
        ):
            judged(found)
    repaired = judged(found, exif_rotated_image="repair")[0]
    assert numbers(repaired) == {"exif_rotated_image": 1} and repaired.upright == {2}
    _, seen = converted(found, repaired)
    with PIL.Image.open(_stream(seen[2])) as picture:
        assert picture.format == "PNG" and _close(np.asarray(picture), shown)
        assert (seen[2]["height"], seen[2]["width"]) == ([picture.height], [picture.width])
    assert seen[0]["image"].tobytes() == found.picture(1).read_bytes()


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    """OpenCV and Pillow round differently."""
    return one.shape == other.shape and bool(np.abs(one.astype(int) - other).max() <= 3)


def test_upright_images_are_upright_for_refiner_and_drawings(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    path.write_bytes(made_faults.oriented(6, "PNG")(b""))
    shown = PIL.ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB")
    shown.save(tmp_path / "plain.png")
    result = {"image_id": 7, "category_id": 1, "keypoints": [3.0, 4.0, 0.9, 20.0, 30.0, 0.8], "score": 0.5}
    person = overlays.Person(
        {"id": 1, "image_id": 7, "bbox": [2, 3, 20, 30], "area": 9.0}, np.array([[3, 4, 2], [20, 30, 2.0]]), None, 0.0
    )
    sheets, seen = [], []
    for file, upright in ((path, {7}), (tmp_path / "plain.png", ()), (path, ())):
        settings = EvaluationConfig(batch=1, flip_test="off")
        refine(lambda image, pose: seen.append(image) or pose[..., :2], [result], {7: file}, size=(32, 32), schema=POINTS,
               settings=settings, upright=upright)  # fmt: skip
        sheets.append(overlays.sheet([person], {7: file}, POINTS, upright=upright).tobytes())
    for found in (sheets, [one.tobytes() for one in seen]):
        assert found[0] == found[1] != found[2]


def test_grey_palette_alpha_and_webp_are_no_faults(tmp_path: Path) -> None:
    found = data(tmp_path)
    picture = PIL.Image.fromarray(made_faults.pixels(2))
    for mode, kind in (("L", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("1", "PNG"), ("RGB", "WEBP"), ("LA", "PNG")):
        found.picture(2).write_bytes(made_faults.encoded(picture.convert(mode), kind))
        found.write()
        assert numbers(*judged(found)) == {}, (mode, kind)


# What becomes of AP


def with_estimates(found: Data) -> list[dict[str, Any]]:
    """Perfect predictions of everybody whom the annotations had before any fault."""
    clean = data(found.folder / "clean").content["annotations"]
    return [
        {"image_id": person["image_id"], "category_id": 1, "keypoints": person["keypoints"], "score": 0.5}
        for person in clean
    ]


def test_ap_is_of_the_images_and_people_that_are_left(tmp_path: Path) -> None:
    found = made(tmp_path, FAULTS["empty_image"]["zero bytes"])
    one, _ = judged(found, empty_image="drop")
    truth = one.evaluated(coco_json.read(found.annotations), 2)
    predicted = [result for result in with_estimates(found) if result["image_id"] != 2]
    metrics = evaluate(truth, predicted, POINTS.sigmas)
    assert (metrics["images"], metrics["persons"], metrics["metrics"]["AP"]) == (2, 4, pytest.approx(1))
    assert one.left_out() == {"images": 1, "persons": 2}
    # With the image, its people would be missing.
    assert evaluate(json.loads(found.annotations.read_text()), predicted, POINTS.sigmas)["metrics"]["AP"] < 0.7


def test_who_is_dropped_from_an_image_is_neither_found_nor_missed(tmp_path: Path) -> None:
    found = made(tmp_path, FAULTS["keypoint_length"]["short"])
    one, _ = judged(found, keypoint_length="drop")
    content = coco_json.read(found.annotations)
    truth = one.evaluated(content, 2)
    everybody = with_estimates(found)
    with_them = evaluate(truth, everybody, POINTS.sigmas)
    without = evaluate(truth, [result for place, result in enumerate(everybody) if place != OTHER], POINTS.sigmas)
    assert with_them["metrics"] == without["metrics"] and with_them["metrics"]["AP"] == pytest.approx(1)
    assert (with_them["images"], with_them["persons"]) == (3, 5) and one.left_out() == {"images": 0, "persons": 1}
    # Gone altogether, the prediction of that person would be a false alarm.
    alarmed = evaluate(one.applied(content), [{**everybody[OTHER], "score": 0.9}, *everybody], POINTS.sigmas)
    assert alarmed["metrics"]["AP"] < 0.95


@pytest.mark.parametrize("kind", ["malformed_box", "malformed_annotation", "unknown_image"])
def test_who_is_nowhere_is_not_evaluated(tmp_path: Path, kind: str) -> None:
    fault = FAULTS[kind]["image" if kind == "malformed_annotation" else "none"]
    found = made(tmp_path, fault)
    one, _ = judged(found, **{kind: "drop"})
    content = coco_json.read(found.annotations)
    assert one.evaluated(content, 2) == one.applied(content) and one.left_out() == {"images": 0, "persons": 1}


def test_other_categories_are_not_left_out(tmp_path: Path) -> None:
    found = made(tmp_path, FAULTS["other_category"]["dog"])
    one, _ = judged(found)
    content = coco_json.read(found.annotations)
    assert one.evaluated(content, 2) == one.applied(content) and one.left_out() == {"images": 0, "persons": 0}


def test_repaired_values_are_those_that_predictions_are_compared_with(tmp_path: Path) -> None:
    found = made(tmp_path, FAULTS["invalid_keypoint"]["NaN"])
    one, _ = judged(found, invalid_keypoint="repair")
    metrics = evaluate(one.evaluated(coco_json.read(found.annotations), 2), with_estimates(found), POINTS.sigmas)
    assert metrics["metrics"]["AP"] == pytest.approx(1) and metrics["persons"] == 6


def test_the_program_of_the_metrics_says_what_was_left_out(tmp_path: Path) -> None:
    found = made(tmp_path, FAULTS["empty_image"]["zero bytes"], Fault(made_faults.doubled("annotations"), "", {}))
    one, _ = judged(found, empty_image="drop", duplicate_annotation_id="drop")
    verdict.write(tmp_path / "verdict.json", one)
    predicted = [result for result in with_estimates(found) if result["image_id"] != 2]
    (tmp_path / "predicted.json").write_text(json.dumps(predicted))
    command = [sys.executable, str(ROOT / "scripts/evaluate.py"), "--annotations", str(found.annotations)]
    command += ["--validation", "verdict.json", "--results", "predicted.json", "--metrics", "metrics.json"]
    command += ["--keypoints", POINTS.model_dump_json()]
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out by the validation: 1 images, 3 persons" in done.stdout
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["left_out"] == {"images": 1, "persons": 3} and (written["images"], written["persons"]) == (2, 4)
    found.annotations.write_text(found.annotations.read_text() + " ")
    done = run(command, tmp_path)
    assert done.returncode == 2 and "not the file that was validated" in done.stderr and "Traceback" not in done.stderr


# The artifact and the program


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)}
    )


def test_the_program_writes_a_verdict_or_one_line(tmp_path: Path) -> None:
    found = made(tmp_path, FAULTS["truncated_image"]["without its end"])
    program = [sys.executable, str(ROOT / "scripts/validate.py"), "--annotations", "annotations.json"]
    images = ["--images", ".", "--keypoints", POINTS.model_dump_json(), "--workers", "2", "--verdict", "v/val.json"]
    done = run([*program, *images], tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr and not (tmp_path / "v").exists()
    last = done.stderr.splitlines()[-1]
    assert "2.jpg: image 2 of annotations.json: image file is truncated" in last
    assert last.endswith("; get it again, or set dataset.validation.truncated_image to drop")
    done = run([*program, *images, "--settings", '{"truncated_image": "drop"}'], tmp_path)
    assert done.returncode == 0 and "WARNING truncated_image: 1 (drop)" in done.stderr, done.stderr
    expected = validate(found.annotations, POINTS, ValidationConfig(truncated_image="drop"), images=found.folder)
    written = verdict.read(tmp_path / "v/val.json")
    examples = {kind: one.model_copy(update={"examples": ()}) for kind, one in expected.found.items()}
    assert {kind: one.model_copy(update={"examples": ()}) for kind, one in written.found.items()} == examples
    assert written.model_copy(update={"found": {}}) == expected.model_copy(update={"found": {}})
    detections = ["--validation", "v/val.json", "--detections", "detections.json", "--verdict", "v/boxes.json"]
    done = run([*program, *detections], tmp_path)
    assert done.returncode == 0, done.stderr
    assert verdict.read(tmp_path / "v/boxes.json").number_dropped("detections") == {OF_IMAGE: 1}


def test_the_programs_of_the_conversion_and_of_the_mean_pose_apply_the_verdicts(tmp_path: Path) -> None:
    found = made(
        tmp_path, FAULTS["empty_image"]["zero bytes"], Fault(lambda it: it.detections[2].update(score=None), "", {})
    )
    for name, one in zip(("val", "boxes"), judged(found, empty_image="drop", malformed_detection="drop"), strict=True):
        verdict.write(tmp_path / f"{name}.json", one)
    common = ["--annotations", "annotations.json", "--keypoints", POINTS.model_dump_json(), "--validation", "val.json"]
    convert = [sys.executable, str(ROOT / "scripts/convert.py"), *common, "--images", "."]
    convert += ["--output", "records/manifest.json", "--purpose", "detections"]
    convert += ["--detections", "detections.json", "--detections-validation", "boxes.json"]
    done = run(convert, tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "records/manifest.json").read_text())
    assert (manifest["examples"], manifest["dropped"]) == (1, {"malformed_detection": 1, OF_IMAGE: 1})
    assert manifest["validation"]["annotations"]["empty_image"] == {"policy": "drop", "number": 1}
    mean = [sys.executable, str(ROOT / "scripts/baseline.py"), *common, "--train-annotations", "annotations.json"]
    done = run([*mean, "--train-validation", "val.json", "--results", "mean.json"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert [person["image_id"] for person in json.loads((tmp_path / "mean.json").read_text())] == [1, 1, 3, 3]


def test_verdicts_survive_a_file_and_are_known_by_it(tmp_path: Path) -> None:
    found = made(tmp_path, FAULTS["cmyk_image"]["JPEG"], FAULTS["invalid_area"]["NaN"])
    one, _ = judged(found, invalid_area="repair")
    verdict.write(tmp_path / "verdict.json", one)
    assert verdict.read(tmp_path / "verdict.json") == one
    other = made(tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"other/annotations\.json: not the file that was validated, .*-R validate"):
        coco.ground_truth(other.annotations, POINTS, training=True, verdict=one)
    with pytest.raises(ArtifactError, match=r"detections\.json: not the file that was validated"):
        coco.detections(found.detected, found.annotations, POINTS, verdict=one, of_detections=one)


DAMAGES = {
    "cut": (lambda text: text[: len(text) // 2], "not readable as JSON"),
    "of the future": (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "schema_version"),
    "another key": (lambda text: text.replace('"sha256"', '"sha512"'), "sha512: unknown key"),
    "places beyond the list": (
        lambda text: text.replace('"annotations": 6', '"annotations": 2'),
        "beyond the 2 entries",
    ),
    "no object": (lambda text: "[1]", "a JSON object is expected"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_verdicts_are_named(tmp_path: Path, name: str) -> None:
    change, said = DAMAGES[name]
    one, _ = judged(made(tmp_path, FAULTS["invalid_area"]["NaN"]), invalid_area="repair")
    path = tmp_path / "verdict.json"
    verdict.write(path, one)
    path.write_text(change(path.read_text()))
    with pytest.raises(ArtifactError) as caught:
        verdict.read(path)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value)


def test_without_faults_a_record_has_the_bytes_of_the_images_file(tmp_path: Path) -> None:
    found = made(tmp_path)
    one, _ = judged(found)
    _, seen = converted(found, one)
    assert [record["image"].tobytes() for record in seen[::2]] == [found.picture(n).read_bytes() for n in (1, 2, 3)]
