"""Heat-map targets, computed on the device (paper, section V-B, with the published program's details)."""

from typing import Any

from keras import ops

from pipeline_lib.nets.maps import gaussians

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
    # Multiplied before it is divided: float32 then rounds halves (x at half a heat-map pixel) like exact arithmetic.
    x, y = (
        ops.floor(points[:, :, axis] * output / side + 0.5)
        for axis, output, side in ((0, output_size[1], input_size[1]), (1, output_size[0], input_size[0]))
    )
    return PEAK * gaussians(x, y, output_size, sigma)
