"""Networks: what describes them (`layers`, `spec`, `registry`, `inherit`) needs NumPy only, `build` and `build_architecture` load Keras when first asked for."""

import importlib
from typing import Any

_HOMES = {"build": "registry", "build_architecture": "building"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"pipeline_lib.nets.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
