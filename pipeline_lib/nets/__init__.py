"""Networks: `spec` and `inherit` need NumPy only, `build` loads Keras when it is first asked for."""

import importlib
from typing import Any

_BUILDERS = ("build", "build_architecture")


def __getattr__(name: str) -> Any:
    if name in _BUILDERS:
        return getattr(importlib.import_module("pipeline_lib.nets.evopose"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
