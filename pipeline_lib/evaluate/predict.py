"""Keypoints of every person of a set of records, in image pixels (paper, section V-B: test protocol)."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline_lib.config import EvaluationConfig, KeypointSchema
from pipeline_lib.data.augment import MEAN_COLOUR
from pipeline_lib.evaluate.decode import decode
from pipeline_lib.evaluate.flip import alignment, mirror
from pipeline_lib.evaluate.results import result

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0

Network = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]


def on_crops(network: "keras.Model") -> Network:
    """`network`, which takes normalised images, as a compiled function of uint8 crops."""
    import keras

    from pipeline_lib.nets.normalization import normalize

    crops = keras.Input(network.input_shape[1:], dtype="uint8", name="crops")
    model = keras.Model(crops, network(normalize(crops)))
    model.compile(jit_compile=False)  # on a CPU, XLA is slower; a TPU compiles anyway
    return model.predict_on_batch


def predict(
    network: Network,
    batches: Iterable[Mapping[str, npt.NDArray[Any]]],
    *,
    schema: KeypointSchema,
    settings: EvaluationConfig,
    examples: int,
) -> list[dict[str, Any]]:
    """The COCO result list of `network` for the people of `batches`; one batch's heat maps are in memory at a time.

    Args:
        network: uint8 crops (N, H, W, 3) to heat maps (N, H', W', K) with peaks of 255.
        batches: of `data.records.dataset` with metadata; people of weight 0 fill a batch up and are left out.
        schema: the keypoints of the maps.
        settings: the flip test and the threshold of scores.
        examples: number of people, for the progress log.
    """
    pairs = schema.indices(schema.flip_pairs)
    results: list[dict[str, Any]] = []
    started = reported = time.monotonic()
    log.info("predicting %d people; the first batch takes some seconds longer, since it is compiled in it", examples)
    for batch in batches:
        keypoints = _keypoints(network, batch["image"], pairs, settings)
        keypoints[..., :2] = to_image(keypoints[..., :2], batch["inverse"])
        for person in np.flatnonzero(batch["weight"]):
            image_id, box_score = batch["image_id"][person], batch["score"][person]
            results.append(result(image_id, keypoints[person], float(box_score), settings.score_threshold))
        now = time.monotonic()
        if now - reported >= PROGRESS_SECONDS:
            reported = now
            rate = len(results) / (now - started)
            left = (examples - len(results)) / rate if rate else float("nan")
            log.info("predicted %d of %d people, %.1f a second, %.0f s left", len(results), examples, rate, left)
    log.info("predicted %d people in %.1f s", len(results), time.monotonic() - started)
    return results


def to_image(points: npt.NDArray[np.floating], inverse: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Points (N, K, 2) of crops in image pixels, by each crop's affine map (N, 2, 3) from crop to image."""
    matrix = np.asarray(inverse, np.float64)
    return np.einsum("nij,nkj->nki", matrix[..., :2], points) + matrix[:, None, :, 2]


def _keypoints(
    network: Network,
    crops: npt.NDArray[np.uint8],
    pairs: Iterable[tuple[int, int]],
    settings: EvaluationConfig,
) -> npt.NDArray[np.float64]:
    size = crops.shape[1], crops.shape[2]
    maps = network(crops)
    if settings.flip_test == "off":
        return decode(maps, input_size=size)
    offset, shift = alignment(settings.flip_test, size, (maps.shape[1], maps.shape[2]))
    flipped = network(mirror(crops, offset, MEAN_COLOUR))
    return decode(maps, flipped, input_size=size, flip_pairs=pairs, shift=shift)
