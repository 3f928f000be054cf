"""The start of a job that computes with Keras."""

import gc
import logging
import sys

log = logging.getLogger(__name__)

OPTIONAL = ("matplotlib", "pandas")
"""What Keras imports where it finds it, for pictures and tables that nothing here gives it."""


def load_keras(title: str) -> None:
    """Import Keras and its backend, as fast as that goes, and say so; `title`: of the job.

    What is only optional is left out, which is a fifth of the time, and no garbage is looked for among modules that all stay.
    The caller imports what needs Keras afterwards. Nothing happens when Keras is loaded already.
    """
    if "keras" in sys.modules:
        return
    log.info("%s: loading TensorFlow", title)
    absent = [name for name in OPTIONAL if name not in sys.modules]
    collecting = gc.isenabled()
    gc.disable()
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: an import of it is an ImportError
    try:
        import keras  # noqa: F401
    finally:
        for name in absent:
            del sys.modules[name]
        gc.freeze()
        if collecting:
            gc.enable()
