"""The keypoints of a data set; COCO's and PoseTrack's are built in."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline_lib.config.fields import Section


class KeypointSchema(Section):
    """Names, symmetry, skeleton and OKS constants of the keypoints of a data set."""

    names: tuple[str, ...] = Field(min_length=1, description="Keypoint names in the order of the annotations.")
    flip_pairs: tuple[tuple[str, str], ...] = Field((), description="Left/right pairs that change places in a mirror.")
    skeleton: tuple[tuple[str, str], ...] = Field((), description="Pairs of keypoints that are joined when drawn.")
    sigmas: tuple[Annotated[float, Field(strict=True, gt=0)], ...] = Field(
        description="OKS standard deviation of each keypoint."
    )
    upper_body: tuple[str, ...] = Field((), description="Keypoints of the upper half, for half-body augmentation.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError("names must differ from each other")
        if len(self.sigmas) != len(self.names):
            raise ValueError(f"one sigma for each of the {len(self.names)} names is expected, {len(self.sigmas)} given")
        mentioned = {name for pair in (*self.flip_pairs, *self.skeleton) for name in pair} | set(self.upper_body)
        if unknown := sorted(mentioned - set(self.names)):
            raise ValueError(f"{', '.join(unknown)}: not among the names; correct one or the other")
        paired = [name for pair in self.flip_pairs for name in pair]
        if len(set(paired)) != len(paired):
            raise ValueError("a keypoint can be in one flip pair only")
        return self

    def flip_permutation(self) -> tuple[int, ...]:
        """Index of the keypoint that takes each place when a person is mirrored."""
        place = {name: index for index, name in enumerate(self.names)}
        partner = dict(self.flip_pairs) | {right: left for left, right in self.flip_pairs}
        return tuple(place[partner.get(name, name)] for name in self.names)

    def indices(self, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[int, int], ...]:
        """`pairs` of names as pairs of 0-based indices."""
        place = {name: index for index, name in enumerate(self.names)}
        return tuple((place[first], place[second]) for first, second in pairs)


def _sides(*parts: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"left_{part}", f"right_{part}") for part in parts)


_UPPER = _sides("eye", "ear", "shoulder", "elbow", "wrist")
_PAIRS = _UPPER + _sides("hip", "knee", "ankle")


COCO_KEYPOINTS = KeypointSchema(
    names=("nose", *(name for pair in _PAIRS for name in pair)),
    flip_pairs=_PAIRS,
    skeleton=(
        ("left_ankle", "left_knee"),
        ("left_knee", "left_hip"),
        ("right_ankle", "right_knee"),
        ("right_knee", "right_hip"),
        ("left_hip", "right_hip"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "right_shoulder"),
        ("left_shoulder", "left_elbow"),
        ("right_shoulder", "right_elbow"),
        ("left_elbow", "left_wrist"),
        ("right_elbow", "right_wrist"),
        ("left_eye", "right_eye"),
        ("nose", "left_eye"),
        ("nose", "right_eye"),
        ("left_eye", "left_ear"),
        ("right_eye", "right_ear"),
        ("left_ear", "left_shoulder"),
        ("right_ear", "right_shoulder"),
    ),
    sigmas=(0.026, *(s for s in (0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089) for _ in range(2))),
    upper_body=("nose", *(name for pair in _UPPER for name in pair)),
)

_HEAD = ("head_bottom", "head_top")

# PoseTrack 2018 has two points of the head where COCO has eyes; its ears are never labelled. It is evaluated with COCO's
# constants, place by place (paper, section V-A).
POSETRACK_KEYPOINTS = KeypointSchema(
    names=("nose", *_HEAD, *COCO_KEYPOINTS.names[3:]),
    flip_pairs=_PAIRS[1:],
    skeleton=(
        *(pair for pair in COCO_KEYPOINTS.skeleton if not any("eye" in name or "ear" in name for name in pair)),
        ("head_bottom", "nose"),
        ("nose", "head_top"),
        ("left_shoulder", "head_bottom"),
        ("right_shoulder", "head_bottom"),
    ),
    sigmas=COCO_KEYPOINTS.sigmas,
    upper_body=("nose", *_HEAD, *(name for pair in _UPPER[1:] for name in pair)),
)

BUILT_IN = {"coco": COCO_KEYPOINTS, "posetrack": POSETRACK_KEYPOINTS}
