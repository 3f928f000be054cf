"""The paper's form of the input pipeline, restated in TensorFlow operations (paper, section V-B).

Records hold whole images. The host decodes each, normalises it in float32, warps it to the crop with TensorFlow's
projective transform, and draws the target heat maps; float32 images and maps go to the device. Geometry, padding and
targets are those of `data.augment` and `train.targets`, so that both pipelines can be compared.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline_lib.config import Augmentation
from pipeline_lib.data.augment import BOX_MARGIN
from pipeline_lib.data.records import Manifest
from pipeline_lib.nets.normalization import MEAN, STD

COLOUR = np.array(MEAN, np.float32) * 255
CONTRAST = np.array(STD, np.float32) * 255
OUTPUT_STRIDE = 4
PEAK = 255.0


def dataset(
    manifest: Manifest,
    *,
    height: int,
    width: int,
    batch: int,
    augmentation: Augmentation | None,
    seed: int,
    epochs: int,
    threads: int,
) -> tf.data.Dataset:
    """Batches of (normalised float32 images (B, H, W, 3), float32 maps (B, H/4, W/4, K), v (B, K))."""
    names = manifest.keypoints
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "box": tf.io.FixedLenFeature([4], tf.float32),
        "keypoints": tf.io.FixedLenFeature([len(names.names), 3], tf.float32),
    }
    permutation = tf.constant(names.flip_permutation())

    def one(number: Any, serialized: Any) -> Any:
        record = tf.io.parse_single_example(serialized, features)
        image = tf.cast(tf.image.decode_jpeg(record["image"], channels=3), tf.float32)
        image = (image - COLOUR) / CONTRAST
        scale, angle, flip = _draw(augmentation, [seed, number])
        forward = _affine(record["box"], height, width, scale, angle, flip)
        crop = _warp(image, forward, height, width)
        return (crop, *_targets(record["keypoints"], forward, flip, permutation, height, width))

    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    paths = [str(shard.path) for shard in manifest.shards]
    return (
        tf.data.TFRecordDataset(paths)
        .repeat(epochs)
        .enumerate()
        .map(one, num_parallel_calls=threads)
        .batch(batch, drop_remainder=True)
        .prefetch(2)
        .with_options(options)
    )


def _draw(augmentation: Augmentation | None, address: Any) -> tuple[Any, Any, Any]:
    """Scale, rotation in radians, flip; stateless, since deterministic ops would run a map with a state one at a time."""
    if augmentation is None:
        return tf.constant(1.0), tf.constant(0.0), tf.constant(False)
    changes = tf.random.stateless_normal([2], address)
    chances = tf.random.stateless_uniform([2], [address[0] + 1, address[1]])
    limit, turn = augmentation.scale_limit, augmentation.rotation_limit
    scale = tf.clip_by_value(changes[0] * augmentation.scale_std, -limit, limit)
    angle = tf.clip_by_value(changes[1] * augmentation.rotation_std, -turn, turn)
    turns = chances[0] < augmentation.rotation_probability
    return 1 + scale, tf.where(turns, angle, 0.0) * (math.pi / 180), chances[1] < augmentation.flip


def _affine(box: Any, height: int, width: int, scale: Any, angle: Any, flip: Any) -> Any:
    """The 3x3 matrix from image to crop pixels."""
    zoom = height / (BOX_MARGIN * scale * tf.maximum(box[3], box[2] * (height / width)))
    cos, sin = zoom * tf.cos(angle), zoom * tf.sin(angle)
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    rows = [[cos, -sin, width / 2 - cos * x + sin * y], [sin, cos, height / 2 - sin * x - cos * y], [0.0, 0.0, 1.0]]
    matrix = tf.convert_to_tensor(rows)
    mirror = tf.constant([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return tf.where(flip, mirror @ matrix, matrix)


def _warp(image: Any, forward: Any, height: int, width: int) -> Any:
    back = tf.reshape(tf.linalg.inv(forward), [1, 9])[:, :8]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=back,
        output_shape=[height, width],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return tf.ensure_shape(warped[0], (height, width, 3))


def _targets(keypoints: Any, forward: Any, flip: Any, permutation: Any, height: int, width: int) -> tuple[Any, Any]:
    points = keypoints[:, :2] @ tf.transpose(forward[:2, :2]) + forward[:2, 2]
    seen = keypoints[:, 2]
    points = tf.where(flip, tf.gather(points, permutation), points)
    seen = tf.where(flip, tf.gather(seen, permutation), seen)
    inside = tf.reduce_all((points >= 0) & (points < np.array([width, height], np.float32)), axis=1)
    sigma = 2.0 * (height // OUTPUT_STRIDE) / 64
    centre = tf.floor(points / OUTPUT_STRIDE + 0.5)
    rows, columns = (tf.range(side // OUTPUT_STRIDE, dtype=tf.float32) for side in (height, width))
    squares = (rows[:, None, None] - centre[:, 1]) ** 2 + (columns[None, :, None] - centre[:, 0]) ** 2
    return PEAK * tf.exp(squares / (-2 * sigma**2)), seen * tf.cast(inside, tf.float32)
