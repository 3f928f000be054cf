"""Synthesised errors of poses: how often, how far, and which samples are rejected, against a plain restatement."""

import math
from itertools import product

import numpy as np
import pytest

from pipeline_lib.config import COCO_KEYPOINTS, KeypointSchema
from pipeline_lib.data import pose_errors
from pipeline_lib.data.pose_errors import ERRORS

NAMES = COCO_KEYPOINTS.names
MIRROR = {name: name.replace("left", "x").replace("right", "left").replace("x", "right") for name in NAMES}
FACE = {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
LOWER = {f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle")}
AREA = 9000.0


def part(name: str) -> str:
    return name.rpartition("_")[2]


def expected(name: str, labelled: int, crowded: bool) -> dict[str, float]:
    """The published table, keypoint by keypoint."""
    few = labelled <= 10
    if part(name) in ("nose", "knee", "ankle"):
        jitter = 0.15 if few else 0.10
    elif part(name) == "hip":
        jitter = 0.25 if few else 0.20
    else:
        jitter = 0.20 if few else 0.15
    column = 0 if name in FACE else 1 if part(name) in ("shoulder", "ankle") else 2
    row = (0.15, 0.20, 0.25) if labelled <= 5 else (0.10, 0.13, 0.15) if few else (0.02, 0.05, 0.10)
    body = 0 if name in FACE else 2 if name in LOWER else 1
    found = {"jitter": jitter, "miss": row[column], "inversion": (0.01, 0.03, 0.06)[body]}
    found["swap"] = (0.02, 0.15, 0.10)[body] if crowded else (0.01, 0.06, 0.03)[body]
    return {"good": 1 - sum(found.values()), **found}


def radius(similarity: float, name: str, area: float = AREA) -> float:
    """Where exp(-d^2 / (2 area (2 sigma)^2)) is the similarity."""
    return 2 * COCO_KEYPOINTS.sigmas[NAMES.index(name)] * math.sqrt(2 * area * -math.log(similarity))


@pytest.mark.parametrize(("labelled", "people"), product((1, 5, 6, 10, 11, 15, 16, 17), (0, 1, 2, 3, 4)))
def test_the_table_of_probabilities(labelled: int, people: int) -> None:
    crowded = (labelled <= 10 and people >= 1) or (labelled <= 15 and people >= 3)
    found = pose_errors.probabilities(COCO_KEYPOINTS, labelled, people)
    for row, name in zip(found, NAMES, strict=True):
        assert dict(zip(ERRORS, row, strict=True)) == pytest.approx(expected(name, labelled, crowded)), name
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_distances_are_those_of_a_similarity() -> None:
    """By pycocotools' formula: exp(-d^2 / (2 sigma)^2 / area / 2)."""
    for similarity in (0.85, 0.5, 0.1):
        far = pose_errors.distance(similarity, AREA, COCO_KEYPOINTS.sigmas)
        variances = (2 * np.array(COCO_KEYPOINTS.sigmas)) ** 2
        np.testing.assert_allclose(np.exp(-(far**2) / variances / AREA / 2), similarity)


def standing(x: float = 0, scale: float = 1.0) -> np.ndarray:
    """A person whose keypoints are far apart from each other: (17, 3)."""
    places = [[x + 1000 * scale * (index % 5), 1000 * scale * (index // 5), 2] for index in range(17)]
    return np.array(places, float)


def proposals(own: np.ndarray, others: list[np.ndarray], rng: np.random.Generator) -> tuple[pose_errors.Samples, ...]:
    return pose_errors.propose(own, np.array(others, float).reshape(-1, 17, 3), AREA, COCO_KEYPOINTS, rng)


def test_distances_of_errors_are_uniform_around_their_centres() -> None:
    """Nobody is near: nothing is rejected."""
    own, other = standing(), standing(30000)
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[float, float]]] = {error: [] for error in ERRORS}
    centres = {error: np.zeros(4) for error in ("miss", "swap")}
    for _ in range(300):
        for error, sample in zip(ERRORS, proposals(own, [other], rng), strict=True):
            for index in (5, 12):
                name, mirror = NAMES[index], NAMES.index(MIRROR[NAMES[index]])
                candidates = np.array([own[index], own[mirror], other[index], other[mirror]])[:, :2]
                offsets = sample.points[index] - candidates
                nearest = int(np.linalg.norm(offsets, axis=1).argmin())
                low, high = {"good": (1, 0.85), "jitter": (0.85, 0.5), "miss": (0.5, 0.1)}.get(error, (1, 0.5))
                low, high = radius(low, name), radius(high, name)
                share = (np.linalg.norm(offsets[nearest]) - low) / (high - low)
                found[error].append((share, math.atan2(*offsets[nearest])))
                assert sample.found[index]
                if error in centres:
                    centres[error][nearest] += 1
                else:
                    assert nearest == (1 if error == "inversion" else 0)
    for error, drawn in found.items():
        shares, angles = np.array(drawn).T
        assert shares.min() >= 0 and shares.max() <= 1, error
        # Mean and variance of 600 uniform draws.
        assert shares.mean() == pytest.approx(0.5, abs=0.05) and shares.var() == pytest.approx(1 / 12, abs=0.012)
        assert np.abs(np.exp(1j * angles).mean()) < 0.15
    assert centres["miss"] / 600 == pytest.approx([0.25] * 4, abs=0.08)
    assert centres["swap"] / 600 == pytest.approx([0, 0, 0.5, 0.5], abs=0.09)


def test_a_nose_has_one_place_on_a_neighbour() -> None:
    own, other = standing(), standing(30000)
    rng = np.random.default_rng(9)
    x = np.array([proposals(own, [other], rng)[2].points[0, 0] for _ in range(250)])
    assert (x > 10000).mean() == pytest.approx(0.5, abs=0.1)


def test_a_miss_keeps_away_from_others_by_no_more_than_it_must() -> None:
    """Three neighbours' noses a pixel beside the own one: a miss may be nearer to them, as long as they are far."""
    own, three = standing(), [standing(1)] * 3
    rng = np.random.default_rng(10)
    x = np.array([proposals(own, three, rng)[2].points[0, 0] for _ in range(250)])
    assert (x < 0.5).mean() == pytest.approx(0.5, abs=0.1)


def mixed(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A person and two neighbours whose candidates lie as near to each other as errors are far; a few labels are missing."""
    people = np.concatenate([rng.uniform(0, 60, (3, 17, 2)), np.full((3, 17, 1), 2.0)], axis=-1)
    people[rng.random((3, 17)) < 0.15] = 0
    return people[0], people[1:]


def test_samples_are_rejected_by_the_rules() -> None:
    rng = np.random.default_rng(1)
    seen = dict.fromkeys(ERRORS, 0)
    for _ in range(60):
        own, others = mixed(rng)
        samples = pose_errors.propose(own, others, AREA, COCO_KEYPOINTS, rng)
        for index, name in enumerate(NAMES):
            mirror = NAMES.index(MIRROR[name])
            candidates = {"truth": [own[index]], "mirror": [own[mirror]] if mirror != index else []}
            candidates["others"] = [other[index] for other in others]
            candidates["others"] += [other[mirror] for other in others] if mirror != index else []
            kept = {key: [point[:2] for point in points if point[2] > 0] for key, points in candidates.items()}
            for error, sample in zip(ERRORS, samples, strict=True):
                if not sample.found[index]:
                    continue
                assert kept["truth"], "an unknown keypoint has no error"
                gaps = {
                    key: [float(np.linalg.norm(sample.points[index] - point)) for point in points]
                    for key, points in kept.items()
                }
                everything = [gap for some in gaps.values() for gap in some]
                near, middle, far = (radius(ks, name) for ks in (0.85, 0.5, 0.1))
                tiny = 1e-9
                seen[error] += 1
                if error == "good":
                    assert gaps["truth"][0] <= near and gaps["truth"][0] <= min(everything) + tiny
                elif error == "jitter":
                    assert near <= gaps["truth"][0] <= middle and gaps["truth"][0] <= min(everything) + tiny
                elif error == "miss":
                    assert min(everything) >= middle - tiny and any(middle <= gap <= far for gap in everything)
                elif error == "inversion":
                    assert gaps["mirror"][0] <= middle and gaps["mirror"][0] <= min(everything) + tiny
                else:
                    own_gaps = gaps["truth"] + gaps["mirror"]
                    assert any(gap <= middle and gap <= min(own_gaps) + tiny for gap in gaps["others"])
    assert min(seen.values()) > 100, seen


def test_a_swap_may_be_nearer_to_another_neighbour_but_an_inversion_may_not() -> None:
    own, one, three = standing(), standing(30000), [standing(30001)] * 3
    elbow = NAMES.index("left_elbow")
    rng = np.random.default_rng(2)
    swaps = np.array([proposals(own, [one, *three], rng)[4].points[elbow, 0] % 1000 for _ in range(200)])
    # Half of the samples are on either side. Were those nearer to other neighbours rejected, a quarter would be at the left.
    assert ((swaps > 500) | (swaps < 0.5)).mean() == pytest.approx(0.5, abs=0.12)
    third = standing(30000)
    third[NAMES.index("right_elbow"), :2] = own[NAMES.index("right_elbow"), :2] + 1
    inversions = [proposals(own, [third], rng)[3].points[elbow] for _ in range(100)]
    mirror, rival = own[NAMES.index("right_elbow"), :2], third[NAMES.index("right_elbow"), :2]
    for point in inversions:
        assert np.linalg.norm(point - mirror) <= np.linalg.norm(point - rival)


def test_what_cannot_happen_gets_no_probability_and_the_rest_is_renormalised() -> None:
    """A nose alone has neither mirror partner nor neighbour: inversion and swap are left out."""
    nose = np.zeros((17, 3))
    nose[0] = 500, 500, 2
    rng = np.random.default_rng(3)
    near, middle, far = (radius(ks, "nose") for ks in (0.85, 0.5, 0.1))
    drawn = np.array([pose_errors.synthesise(nose, [], AREA, COCO_KEYPOINTS, rng) for _ in range(3000)])
    assert (drawn[:, 1:] == 0).all() and (drawn[:, 0, 2] == 1).all()
    gaps = np.linalg.norm(drawn[:, 0, :2] - 500, axis=1)
    assert gaps.max() <= far
    of = expected("nose", 1, crowded=False)
    left = 1 - of["inversion"] - of["swap"]
    for error, low, high in (("good", 0, near), ("jitter", near, middle), ("miss", middle, far)):
        share = ((gaps > low) & (gaps <= high)).mean()
        assert share == pytest.approx(of[error] / left, abs=0.025), error


def test_shares_of_errors_with_a_neighbour() -> None:
    """Every error can happen, and each is known by where it lies; labels of 17, so that one neighbour is no crowd."""
    own, other = standing(), standing(30000)
    rng = np.random.default_rng(4)
    drawn = np.array([pose_errors.synthesise(own, [other], AREA, COCO_KEYPOINTS, rng) for _ in range(2000)])
    for name in ("left_wrist", "right_hip"):
        index, mirror = NAMES.index(name), NAMES.index(MIRROR[name])
        points = drawn[:, index, :2]
        near, middle, _ = (radius(ks, name) for ks in (0.85, 0.5, 0.1))

        def within(place: np.ndarray, reach: float, points: np.ndarray = points) -> np.ndarray:
            return np.linalg.norm(points - place[:2], axis=1) <= reach

        found = {
            "good": within(own[index], near),
            "jitter": within(own[index], middle) & ~within(own[index], near),
            "inversion": within(own[mirror], middle),
            "swap": within(other[index], middle) | within(other[mirror], middle),
        }
        found["miss"] = ~np.logical_or.reduce(list(found.values()))
        for error, share in expected(name, 17, crowded=False).items():
            assert found[error].mean() == pytest.approx(share, abs=0.03), (name, error)


def test_labels_decide_the_probabilities_where_estimates_stand_for_some() -> None:
    own = standing()
    rng = np.random.default_rng(5)
    index = NAMES.index("left_wrist")
    far = [
        np.mean(
            [
                np.linalg.norm(
                    pose_errors.synthesise(own, [], AREA, COCO_KEYPOINTS, rng, n)[index, :2] - own[index, :2]
                )
                > radius(0.5, "left_wrist")
                for _ in range(1500)
            ]
        )
        for n in (5, None)
    ]
    for share, labelled in zip(far, (5, 17), strict=True):
        of = expected("left_wrist", labelled, crowded=False)
        assert share == pytest.approx((of["miss"] + of["inversion"]) / (1 - of["swap"]), abs=0.035)


def test_coincident_candidates_do_not_reject_each_other_and_the_truth_is_kept_where_nothing_can_be() -> None:
    own = standing()
    own[2] = own[1]
    samples = proposals(own, [own], np.random.default_rng(6))
    assert samples[0].found.all() and samples[1].found.all()
    pose = pose_errors.synthesise(own, [], 0.0, COCO_KEYPOINTS, np.random.default_rng(6))
    # A person without an area has errors of no size.
    assert all(any(np.allclose(point, place) for place in own[:, :2]) for point in pose[:, :2])


def test_the_same_generator_gives_the_same_pose() -> None:
    own, others = mixed(np.random.default_rng(7))
    one, two = (pose_errors.synthesise(own, others, AREA, COCO_KEYPOINTS, np.random.default_rng(8)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_other_keypoints_have_groups_too() -> None:
    schema = KeypointSchema(
        names=("nose", "head_top", "left_hand", "left_foot", "left_hip"), sigmas=(0.1,) * 5, upper_body=("left_hand",)
    )
    found = pose_errors.groups(schema)
    assert found.body.tolist() == [0, 0, 1, 2, 2]
    assert found.jitter.tolist() == [0, 1, 1, 1, 2]
    assert found.miss.tolist() == [0, 0, 2, 2, 2]
