"""Poses as an estimator gets them wrong, made from the truth: what a refiner learns from (PoseFix, Moon et al., CVPR 2019).

Each keypoint has one of five errors. Distances are those at which object keypoint similarity, computed as pycocotools
does, falls to a value: d(ks) = sqrt(-2 area (2 sigma)^2 ln ks).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.config import KeypointSchema

ERRORS = ("good", "jitter", "miss", "inversion", "swap")
Error = Literal["good", "jitter", "miss", "inversion", "swap"]
GOOD, JITTER, MISS, INVERSION, SWAP = range(len(ERRORS))

NEAR, MIDDLE, FAR = 0.85, 0.50, 0.10
"""Similarities at the distances of the errors."""

ATTEMPTS = 50
"""Samples that are drawn of each error of a keypoint; one of which none is accepted does not happen."""

NEIGHBOUR_IOU = 0.1
"""Least overlap of the boxes of two people whose keypoints can be mixed up."""

FACE = ("nose", "eye", "ear", "head_top", "head_bottom", "neck")

# By the number of labelled keypoints up to which they hold.
JITTER_PROBABILITIES = ((10, (0.15, 0.20, 0.25)), (None, (0.10, 0.15, 0.20)))
"""Of nose, knees and ankles; of the others; of hips."""

MISS_PROBABILITIES = ((5, (0.15, 0.20, 0.25)), (10, (0.10, 0.13, 0.15)), (None, (0.02, 0.05, 0.10)))
"""Of the face; of shoulders and ankles; of the others."""

INVERSION_PROBABILITIES = (0.01, 0.03, 0.06)
"""Of face, upper and lower body, as those of swaps."""

SWAP_PROBABILITIES = (0.01, 0.06, 0.03)
CROWDED_SWAP_PROBABILITIES = (0.02, 0.15, 0.10)
# A person is in a crowd with up to this many labelled keypoints and from this many neighbours on.
CROWDED = ((10, 1), (15, 3))

Floats = NDArray[np.float64]
Table = tuple[tuple[int | None, tuple[float, float, float]], ...]


class Groups(NamedTuple):
    """Of each keypoint the column of a table of probabilities: its part of the body, its jitter's and its miss's."""

    body: NDArray[np.intp]
    jitter: NDArray[np.intp]
    miss: NDArray[np.intp]


@lru_cache
def groups(schema: KeypointSchema) -> Groups:
    """What the keypoints of a schema are by their names; those that are neither face nor `upper_body` are lower body."""
    parts = [name.removeprefix("left_").removeprefix("right_") for name in schema.names]

    def column(first: Callable[[str], bool], second: Callable[[str], bool]) -> NDArray[np.intp]:
        return np.array([0 if first(part) else 1 if second(part) else 2 for part in parts], np.intp)

    upper = {part for part, name in zip(parts, schema.names, strict=True) if name in schema.upper_body}
    return Groups(
        body=column(FACE.__contains__, upper.__contains__),
        jitter=column(("nose", "knee", "ankle").__contains__, lambda part: part != "hip"),
        miss=column(FACE.__contains__, ("shoulder", "ankle").__contains__),
    )


def crowded(labelled: int, neighbours: int) -> bool:
    """Whether a person with so many labelled keypoints and neighbours is in a crowd, where keypoints are swapped more."""
    return any(labelled <= most and neighbours >= least for most, least in CROWDED)


def probabilities(schema: KeypointSchema, labelled: int, neighbours: int) -> Floats:
    """The probability (K, 5) of each of `ERRORS`, before those that cannot happen are left out.

    Args:
        schema: names of the keypoints.
        labelled: number of the person's labelled keypoints.
        neighbours: number of people that overlap with it.
    """
    of = groups(schema)
    swaps = CROWDED_SWAP_PROBABILITIES if crowded(labelled, neighbours) else SWAP_PROBABILITIES
    found = np.zeros((len(schema.names), len(ERRORS)))
    found[:, JITTER] = np.array(_row(JITTER_PROBABILITIES, labelled))[of.jitter]
    found[:, MISS] = np.array(_row(MISS_PROBABILITIES, labelled))[of.miss]
    found[:, INVERSION] = np.array(INVERSION_PROBABILITIES)[of.body]
    found[:, SWAP] = np.array(swaps)[of.body]
    found[:, GOOD] = 1 - found.sum(axis=1)
    return found


def _row(table: Table, labelled: int) -> tuple[float, float, float]:
    return next(row for most, row in table if most is None or labelled <= most)


def distance(similarity: float, area: float, sigmas: ArrayLike) -> Floats:
    """How far (K,) keypoints with these `sigmas` are from the truth at an object keypoint similarity, in pixels of `area`."""
    return np.sqrt(-2 * area * (2 * np.asarray(sigmas, np.float64)) ** 2 * np.log(similarity))


@dataclass(frozen=True)
class Samples:
    """An error of every keypoint: a place, and whether one was accepted.

    Attributes:
        points: (K, 2) of x, y.
        found: (K,), whether the error can happen.
    """

    points: Floats
    found: NDArray[np.bool_]


def synthesise(
    keypoints: ArrayLike,
    neighbours: ArrayLike,
    area: float,
    schema: KeypointSchema,
    rng: np.random.Generator,
    labelled: int | None = None,
) -> Floats:
    """A person's pose (K, 3) of x, y and v with errors.

    Args:
        keypoints: (K, 3) of x, y and v: the truth, or for keypoints that are not labelled what is taken for it; those
            with v = 0 are not known, and stay 0, 0, 0.
        neighbours: (P, K, 3), the same of the P people that overlap with the person.
        area: of the person, in pixels in which keypoints are.
        schema: names, partners and sigmas of the keypoints.
        rng: where the errors are drawn from.
        labelled: number of keypoints that are labelled; None: those that are known.
    """
    own = np.asarray(keypoints, np.float64)
    others = np.asarray(neighbours, np.float64).reshape(-1, *own.shape)
    known = own[:, 2] > 0
    table = probabilities(schema, int(known.sum()) if labelled is None else labelled, len(others))
    samples = propose(own, others, area, schema, rng)
    table *= np.stack([sample.found for sample in samples], axis=1)
    total = table.sum(axis=1)
    # Errors are chosen by where a uniform number falls among the sums of their probabilities, renormalised.
    draw = rng.random(len(own)) * total
    chosen = np.minimum((draw[:, None] >= np.cumsum(table, axis=1)).sum(axis=1), len(ERRORS) - 1)
    points = np.stack([sample.points for sample in samples], axis=1)[np.arange(len(own)), chosen]
    points = np.where((total > 0)[:, None], points, own[:, :2])
    return np.where(known[:, None], np.column_stack([points, np.ones(len(own))]), 0.0)


def propose(
    own: Floats, others: Floats, area: float, schema: KeypointSchema, rng: np.random.Generator
) -> tuple[Samples, ...]:
    """A sample of each of `ERRORS` of every keypoint; the arguments are those of `synthesise`, as arrays.

    A sample lies in a random direction and at a random distance from its centre. The centres of a keypoint, and what
    samples are rejected by, are its candidates: the truth, its mirror partner, the neighbours' keypoint, and the
    neighbours' mirror partner.
    """
    partner = np.asarray(schema.flip_permutation(), np.intp)
    paired = partner != np.arange(len(partner))
    theirs = others.transpose(1, 0, 2)  # (K, P, 3)
    people = theirs.shape[1]
    candidates = np.concatenate([own[:, None], own[partner][:, None], theirs, theirs[partner]], axis=1)
    valid = candidates[..., 2] > 0
    valid[:, 1] &= paired
    valid[:, 2 + people :] &= paired[:, None]
    places = candidates[..., :2]
    near, middle, far = (distance(ks, area, schema.sigmas)[:, None] for ks in (NEAR, MIDDLE, FAR))
    zero = np.zeros_like(near)
    each = np.arange(places.shape[1])

    def nearer_to(which: NDArray[np.bool_], gaps: Floats, centre: NDArray[np.intp], reach: Floats) -> NDArray[np.bool_]:
        """Samples that are nearer than `reach` (K, N) to one of the candidates `which`, other than their centre."""
        rival = (valid & which)[:, None, :] & (each != centre[..., None])
        return (rival & (gaps < reach[..., None])).any(axis=-1)

    def sample(
        centres: NDArray[np.bool_], low: Floats, high: Floats, rivals: NDArray[np.bool_], reach: Floats | None = None
    ) -> Samples:
        """Around `centres` (C,) of the candidates; `reach` None: as far as the sample is from its centre."""
        possible = valid & centres
        weight = possible / np.maximum(possible.sum(axis=1, keepdims=True), 1)
        size = (len(own), ATTEMPTS)
        centre = (rng.random(size)[..., None] >= np.cumsum(weight, axis=1)[:, None, :-1]).sum(axis=-1)
        angle = 2 * np.pi * rng.random(size)
        reached = low + (high - low) * rng.random(size)
        around = np.take_along_axis(places, centre[..., None], axis=1)
        points = around + reached[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        gaps = np.linalg.norm(points[:, :, None] - places[:, None], axis=-1)  # (K, N, C)
        own_gap = np.take_along_axis(gaps, centre[..., None], axis=-1)[..., 0]
        rejected = nearer_to(rivals, gaps, centre, own_gap if reach is None else reach)
        accepted = np.logical_and(~rejected, (possible.any(axis=1) & valid[:, 0])[:, None])
        first = accepted.argmax(axis=1)
        return Samples(points[np.arange(len(own)), first], np.asarray(accepted.any(axis=1)))

    everybody = np.ones(len(each), bool)
    truth, mirror = each == 0, each == 1
    return (
        sample(truth, zero, near, everybody),
        sample(truth, near, middle, everybody),
        sample(everybody, middle, far, everybody, middle),
        sample(mirror, zero, middle, everybody),
        sample(each >= 2, zero, middle, truth | mirror),
    )
