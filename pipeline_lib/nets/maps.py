"""Maps of keypoints and keypoints of maps, computed on the device: what goes into a refiner, and what comes out of it."""

from typing import Any

from keras import ops

from pipeline_lib.nets.normalization import STD, normalize

POSE_PEAK = len(STD) / sum(STD)
"""Of a pose's maps beside a normalised image: 255, in the unit that the values of pixels are divided by there."""


def gaussians(x: Any, y: Any, size: tuple[int, int], sigma: float) -> Any:
    """Gaussians of height 1, float32 (N, H', W', K), around the pixels `x`, `y` (N, K) of maps of the `size` (H', W')."""
    # A Gaussian is the product of its profiles along x and y.
    across, down = (
        ops.exp(-0.5 * ops.square(offsets(centre, side) / sigma)) for centre, side in ((x, size[1]), (y, size[0]))
    )
    return outer(across, down)


def offsets(centre: Any, side: int) -> Any:
    """How far each pixel of a side of `side` pixels is from `centre` (N, K): float32 (N, side, K)."""
    return ops.arange(side, dtype="float32")[None, :, None] - centre[:, None, :]


def outer(across: Any, down: Any) -> Any:
    """The maps (N, H', W', K) that are products of profiles (N, W', K) along x and (N, H', K) along y."""
    return down[:, :, None, :] * across[:, None, :, :]


def pose_maps(poses: Any, size: tuple[int, int], sigma: float) -> Any:
    """The pose as it stands beside a normalised image: float32 (N, H, W, K).

    Of each keypoint a Gaussian that is as high as the brightest pixel (255), or nothing where v = 0.

    Args:
        poses: (N, K, 3) of x, y in input pixels and v.
        size: (H, W) of the input.
        sigma: standard deviation in input pixels.
    """
    poses = ops.cast(poses, "float32")
    known = ops.cast(poses[:, None, None, :, 2] > 0, "float32")
    return POSE_PEAK * known * gaussians(poses[:, :, 0], poses[:, :, 1], size, sigma)


def refiner_input(images: Any, poses: Any, sigma: float) -> Any:
    """What a refiner sees, float32 (N, H, W, 3 + K), of uint8 images (N, H, W, 3) and poses (N, K, 3)."""
    return ops.concatenate([normalize(images), pose_maps(poses, images.shape[1:3], sigma)], axis=-1)


def soft_argmax(maps: Any, input_size: tuple[int, int]) -> Any:
    """The mean position of each map's softmax over its pixels: float32 (N, K, 2) of x, y in input pixels.

    Args:
        maps: (N, H', W', K), without an activation.
        input_size: (H, W) of the input.
    """
    height, width = maps.shape[1:3]
    return mean_position(maps) * ops.convert_to_tensor([input_size[1] / width, input_size[0] / height], "float32")


def flat(maps: Any) -> Any:
    """Maps (N, H', W', K) as float32 (N, H' * W', K)."""
    height, width, keypoints = maps.shape[1:]
    return ops.reshape(ops.cast(maps, "float32"), (-1, height * width, keypoints))


def mean_position(maps: Any) -> Any:
    """As `soft_argmax`, in pixels of the maps."""
    shares = ops.reshape(ops.softmax(flat(maps), axis=1), (-1, *maps.shape[1:]))
    return ops.stack(
        [
            ops.sum(ops.sum(shares, axis=other) * ops.arange(side, dtype="float32")[None, :, None], axis=1)
            for other, side in ((1, maps.shape[2]), (2, maps.shape[1]))
        ],
        axis=-1,
    )
