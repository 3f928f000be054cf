"""An articulated person: a 3-D skeleton in a random pose, seen by an orthographic camera, as parts to paint.

Lengths are fractions of the body height. Body axes: X to the person's own left, Y up, Z forward. In the picture x points
right, y down, and `depth` towards the viewer, so a person who faces the viewer has the own left on the picture's right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline_lib.config import COCO_KEYPOINTS

Colour = tuple[int, int, int]

SIDES = {"left": 1.0, "right": -1.0}
SHIN, THIGH, TORSO, NECK = 0.23, 0.24, 0.29, 0.12
UPPER_ARM, FOREARM, HAND, FOOT = 0.165, 0.15, 0.035, 0.07
SHOULDER, HIP, HEAD = 0.115, 0.07, 0.08
SOLE = 0.04  # height of the ankle above the ground

# The parts whose paint a visible joint shows. The paint of any other part over a joint means that it is occluded.
CARRIERS: Mapping[str, tuple[str, ...]] = {
    "nose": ("nose",),
    **{f"{side}_eye": (f"{side}_eye",) for side in SIDES},
    **{f"{side}_ear": (f"{side}_ear",) for side in SIDES},
    **{f"{side}_shoulder": (f"{side}_upper_arm", "torso") for side in SIDES},
    **{f"{side}_elbow": (f"{side}_upper_arm", f"{side}_forearm") for side in SIDES},
    **{f"{side}_wrist": (f"{side}_forearm", f"{side}_hand") for side in SIDES},
    **{f"{side}_hip": (f"{side}_thigh", "torso") for side in SIDES},
    **{f"{side}_knee": (f"{side}_thigh", f"{side}_shin") for side in SIDES},
    **{f"{side}_ankle": (f"{side}_shin", f"{side}_foot") for side in SIDES},
}
PARTS = (
    *("torso", "neck", "head", "hair", "nose"),
    *(
        f"{side}_{part}"
        for side in SIDES
        for part in ("eye", "ear", "upper_arm", "forearm", "hand", "thigh", "shin", "foot")
    ),
)


@dataclass(frozen=True)
class Side:
    """Joint angles of one side in radians; all zero: standing at attention."""

    hip_flexion: float = 0.0
    hip_abduction: float = 0.0
    knee: float = 0.0
    shoulder_flexion: float = 0.0
    shoulder_abduction: float = 0.0
    elbow_flexion: float = 0.0
    elbow_abduction: float = 0.0


@dataclass(frozen=True)
class Pose:
    """Joint angles of a person in radians. `yaw` 0 faces the viewer, a quarter turn faces the picture's right."""

    left: Side
    right: Side
    yaw: float = 0.0
    pitch: float = 0.0  # of the upper body, forward
    roll: float = 0.0  # of the whole person in the picture, to the picture's right
    head_yaw: float = 0.0
    head_pitch: float = 0.0  # down


@dataclass(frozen=True)
class Look:
    """Colours (RGB) and build. Left limbs are warm and bright, right limbs cool and dark: they differ in grey, too."""

    colours: Mapping[str, Colour]  # by part
    stoutness: float = 1.0  # factor of all widths


@dataclass(frozen=True)
class Part:
    """Something to paint: a `limb` (thick line), a `disc`, or a `torso` (thickly outlined polygon)."""

    name: str
    kind: Literal["limb", "disc", "torso"]
    points: np.ndarray  # (n, 2) x, y in pixels
    width: float  # thickness or diameter in pixels
    colour: Colour
    depth: float  # larger is nearer


@dataclass(frozen=True)
class Figure:
    """A person in a picture: parts from back to front, and the true place of every COCO keypoint."""

    parts: tuple[Part, ...]
    keypoints: np.ndarray  # (17, 2) x, y in pixels
    behind: np.ndarray  # (17,) whether the own torso hides the keypoint where they overlap


def sample_pose(rng: np.random.Generator) -> Pose:
    """A random everyday pose: standing, walking, arms raised, bending or crouching, mostly seen from the front."""
    kind = rng.choice(["stand", "walk", "raise", "bend", "crouch"], p=[0.3, 0.28, 0.22, 0.1, 0.1])
    facing = rng.choice(["front", "side", "back"], p=[0.68, 0.2, 0.12])
    yaw = {
        "front": rng.uniform(-0.9, 0.9),
        "side": rng.choice([-1, 1]) * rng.uniform(0.9, 2.0),
        "back": np.pi + rng.uniform(-0.9, 0.9),
    }[str(facing)]
    stride = rng.choice([-1, 1]) * rng.uniform(0.25, 0.6)
    crouch = rng.uniform(0.5, 1.3)

    def side(sign: float) -> Side:
        hip, knee = rng.normal(0, 0.05), abs(rng.normal(0, 0.08))
        arm, elbow, abduction = rng.normal(0.05, 0.15), rng.uniform(0, 0.5), rng.uniform(0.08, 0.4)
        bend = rng.uniform(-0.1, 0.4)
        if kind == "walk":
            hip, knee, arm = sign * stride, rng.uniform(0.0, 0.5), -sign * stride * rng.uniform(0.7, 1.3)
        elif kind == "crouch":
            hip, knee, arm = crouch + rng.normal(0, 0.1), 1.7 * crouch, rng.uniform(0.2, 1.2)
        elif kind == "bend":
            arm = rng.uniform(0.3, 1.3)
        if kind == "raise" and rng.random() < 0.75:
            abduction, bend, elbow = rng.uniform(1.2, 2.6), rng.uniform(-0.1, 1.2), 0.0
        elif rng.random() < 0.15:  # a hand on the hip
            abduction, bend, elbow = rng.uniform(0.6, 0.9), -1.5, 0.0
        return Side(hip, rng.uniform(0.02, 0.22), knee, arm, abduction, elbow, bend)

    return Pose(
        left=side(1.0),
        right=side(-1.0),
        yaw=float(yaw),
        pitch=float(rng.uniform(0.4, 1.1) if kind == "bend" else rng.normal(0.05, 0.08) + 0.3 * (kind == "crouch")),
        roll=float(rng.normal(0, 0.07)),
        head_yaw=float(rng.normal(0, 0.3)),
        head_pitch=float(rng.normal(0.05, 0.12)),
    )


def sample_look(rng: np.random.Generator) -> Look:
    """Random clothes, skin, hair and build."""

    def near(colour: Colour, spread: float = 14, factor: float = 1.0) -> Colour:
        red, green, blue = (int(c) for c in np.clip(np.asarray(colour) * factor + rng.normal(0, spread, 3), 0, 255))
        return red, green, blue

    skin = near((214, 170, 140), 10, rng.uniform(0.6, 1.1))
    colours = {
        "torso": near((140, 135, 140), 45),
        "neck": skin,
        "head": skin,
        "hair": near((70, 50, 35), 25),
        "nose": near((150, 60, 60), 8),
    }
    limbs: dict[str, tuple[Colour, Colour]] = {
        "left": ((235, 85, 55), (250, 205, 70)),
        "right": ((45, 65, 190), (20, 105, 75)),
    }
    for side, (arm, leg) in limbs.items():
        arm, leg = near(arm), near(leg)
        colours |= {
            f"{side}_eye": near(arm, 5, 0.9),
            f"{side}_ear": near(arm, 5),
            f"{side}_upper_arm": arm,
            f"{side}_forearm": near(arm, 4, 0.72),
            f"{side}_hand": skin,
            f"{side}_thigh": leg,
            f"{side}_shin": near(leg, 4, 0.72),
            f"{side}_foot": near((60, 45, 40), 10),
        }
    return Look(colours, float(rng.uniform(0.85, 1.2)))


def figure(pose: Pose, look: Look, height: float, foot: tuple[float, float]) -> Figure:
    """A person of `height` pixels (when upright) who stands with the middle between the feet at `foot` (x, y)."""
    body = _skeleton(pose)
    place = {name: _project(point, pose) for name, point in body.items()}
    ground = min(place["left_ankle"][1], place["right_ankle"][1]) - SOLE
    middle = (place["left_ankle"][0] + place["right_ankle"][0]) / 2
    pixels = {
        name: (np.array([foot[0] + (x - middle) * height, foot[1] - (y - ground) * height]))
        for name, (x, y, _) in place.items()
    }
    depths = {name: z for name, (_, _, z) in place.items()}
    parts: list[Part] = []

    def add(
        name: str, kind: Literal["limb", "disc", "torso"], points: tuple[str, ...], width: float, nearer: float = 0.0
    ) -> None:
        depth = float(np.mean([depths[point] for point in points])) + nearer
        thickness = width * height * (look.stoutness if kind != "disc" else 1.0)
        parts.append(Part(name, kind, np.stack([pixels[p] for p in points]), thickness, look.colours[name], depth))

    add("torso", "torso", ("left_chest", "right_chest", "right_pelvis", "left_pelvis"), 0.1)
    add("neck", "limb", ("throat", "head"), 0.06, -0.02)
    add("head", "disc", ("head",), 2 * HEAD)
    add("hair", "disc", ("hair",), 2 * HEAD)
    add("nose", "disc", ("nose",), 0.042, 0.005)
    for side in SIDES:
        add(f"{side}_eye", "disc", (f"{side}_eye",), 0.042, 0.005)
        add(f"{side}_ear", "disc", (f"{side}_ear",), 0.055, 0.005)
        add(f"{side}_upper_arm", "limb", (f"{side}_shoulder", f"{side}_elbow"), 0.066, 0.03)
        add(f"{side}_forearm", "limb", (f"{side}_elbow", f"{side}_wrist"), 0.056, 0.035)
        add(f"{side}_hand", "limb", (f"{side}_wrist", f"{side}_hand"), 0.045, 0.034)
        add(f"{side}_thigh", "limb", (f"{side}_hip", f"{side}_knee"), 0.092, 0.01)
        add(f"{side}_shin", "limb", (f"{side}_knee", f"{side}_ankle"), 0.074, 0.005)
        add(f"{side}_foot", "limb", (f"{side}_ankle", f"{side}_toe"), 0.05)

    torso = parts[0].depth
    names = COCO_KEYPOINTS.names
    return Figure(
        parts=tuple(sorted(parts, key=lambda part: part.depth)),
        keypoints=np.stack([pixels[name] for name in names]),
        behind=np.array([depths[name] < torso - 0.05 for name in names]),
    )


def _skeleton(pose: Pose) -> dict[str, np.ndarray]:
    """The points of the body in body axes, the pelvis at the origin."""
    point: dict[str, np.ndarray] = {}
    lean = _about_x(pose.pitch)
    gaze = lean @ _about_y(pose.head_yaw) @ _about_x(pose.head_pitch)
    throat = lean @ np.array([0, TORSO, 0])
    head = throat + lean @ np.array([0, NECK, 0.01])
    point |= {"throat": throat, "head": head, "nose": head + gaze @ np.array([0, -0.012, HEAD])}
    point["hair"] = head + gaze @ np.array([0, 0.022, -0.022])
    for side, sign in SIDES.items():
        angles = pose.left if side == "left" else pose.right
        point[f"{side}_eye"] = head + gaze @ np.array([sign * 0.034, 0.018, 0.06])
        point[f"{side}_ear"] = head + gaze @ np.array([sign * 0.084, 0, 0])
        shoulder = point[f"{side}_shoulder"] = lean @ np.array([sign * SHOULDER, TORSO, 0])
        point[f"{side}_chest"] = lean @ np.array([sign * (SHOULDER - 0.035), TORSO - 0.02, 0])
        upper = _direction(sign, angles.shoulder_flexion, angles.shoulder_abduction)
        lower = _direction(
            sign, angles.shoulder_flexion + angles.elbow_flexion, angles.shoulder_abduction + angles.elbow_abduction
        )
        elbow = point[f"{side}_elbow"] = shoulder + UPPER_ARM * upper
        wrist = point[f"{side}_wrist"] = elbow + FOREARM * lower
        point[f"{side}_hand"] = wrist + HAND * lower
        hip = point[f"{side}_hip"] = np.array([sign * HIP, 0, 0])
        point[f"{side}_pelvis"] = np.array([sign * (HIP - 0.02), 0, 0])
        thigh = _direction(sign, angles.hip_flexion, angles.hip_abduction)
        knee = point[f"{side}_knee"] = hip + THIGH * thigh
        shin = _direction(sign, angles.hip_flexion - angles.knee, angles.hip_abduction)
        ankle = point[f"{side}_ankle"] = knee + SHIN * shin
        point[f"{side}_toe"] = ankle + np.array([sign * 0.02, -0.02, FOOT])
    return point


def _direction(sign: float, flexion: float, abduction: float) -> np.ndarray:
    """Unit vector of a hanging limb that swings forward by `flexion` and away from the body by `abduction`."""
    out, down = np.sin(abduction), np.cos(abduction)
    return np.array([sign * out, -down * np.cos(flexion), down * np.sin(flexion)])


def _about_x(angle: float) -> np.ndarray:
    """Rotation that leans what points up forwards."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle: float) -> np.ndarray:
    """Rotation that turns what points forwards to the person's left."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _project(point: np.ndarray, pose: Pose) -> tuple[float, float, float]:
    """x to the picture's right, y up, and depth towards the viewer."""
    x, y, depth = _about_y(pose.yaw) @ point
    c, s = np.cos(pose.roll), np.sin(pose.roll)
    return float(c * x + s * y), float(c * y - s * x), float(depth)
