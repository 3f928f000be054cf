"""The arithmetic of a network's layers."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Layers made within compute in `dtype`, float32 or bfloat16; their variables are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
