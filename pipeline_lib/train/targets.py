"""Heat-map targets, computed on the device (paper, section V-B, with the published program's details)."""

from typing import Any

from keras import ops

PEAK = 255.0


def heatmaps(keypoints: Any, input_size: tuple[int, int], output_size: tuple[int, int], sigma: float) -> Any:
    """Gaussians of height 255 around keypoints.

    A Gaussian's centre is the pixel floor(x / W * W' + 0.5), which may lie outside the map; it is drawn whatever v is.

    Args:
        keypoints: (N, K, 3) of x, y in input pixels and v; tensors of the backend or NumPy arrays.
        input_size: (H, W) of the network's input.
        output_size: (H', W') of the maps.
        sigma: standard deviation in heat-map pixels.

    Returns:
        float32 (N, H', W', K).
    """
    points = ops.cast(keypoints, "float32")

    def profile(axis: int, size: int, input_side: int) -> Any:
        # Multiplied before it is divided: float32 then rounds halves (x at half a heat-map pixel) like exact arithmetic.
        centre = ops.floor(points[:, :, axis] * size / input_side + 0.5)
        distance = ops.arange(size, dtype="float32")[None, :, None] - centre[:, None, :]
        return ops.exp(-0.5 * ops.square(distance / sigma))

    # A Gaussian is the product of its profiles along x and y.
    across = profile(0, output_size[1], input_size[1])
    down = profile(1, output_size[0], input_size[0])
    return PEAK * down[:, :, None, :] * across[:, None, :, :]
