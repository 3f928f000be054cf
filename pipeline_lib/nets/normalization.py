"""What images look like to a network: ImageNet's colours as zero mean and unit variance."""

from typing import Any

import numpy as np
from keras import ops

# Of ImageNet's pixels as red, green, blue between 0 and 1 (as in the published program).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalize(images: Any) -> Any:
    """RGB images (..., 3) with values from 0 to 255, uint8 or float, as normalised float32 tensors."""
    return (ops.cast(images, "float32") / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
