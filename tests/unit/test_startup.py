"""Keras is loaded without what it does not need, and nothing else is different afterwards."""

import subprocess
import sys
import textwrap


def said(program: str) -> tuple[str, str]:
    """(stdout, stderr) of a Python of its own."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr


def test_keras_trains_without_libraries_of_plots_and_tables() -> None:
    stdout, stderr = said("""
        import gc, logging, sys
        logging.basicConfig(level=logging.INFO)
        from pipeline_lib import startup
        collections = []
        gc.callbacks.append(lambda phase, info: collections.append(phase))
        startup.load_keras("a training")
        print(len(collections))
        startup.load_keras("again")
        import numpy as np
        from pipeline_lib.train import trainer
        print(*(name for name in startup.OPTIONAL if name in sys.modules), gc.isenabled(), gc.get_freeze_count() > 100_000)
        import keras
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 3)), np.ones((8, 2)), verbose=0)
        import matplotlib, pandas
        print(len(pandas.DataFrame({"a": [1]})), matplotlib.__name__)
    """)
    assert stdout.splitlines() == ["0", "True True", "1 matplotlib"]
    assert stderr.count("loading TensorFlow") == 1 and "a training: loading TensorFlow" in stderr


def test_what_was_loaded_before_stays() -> None:
    stdout, _ = said("""
        import gc, sys
        import pandas
        gc.disable()
        from pipeline_lib import startup
        startup.load_keras("a training")
        print(sys.modules["pandas"] is pandas, "matplotlib" in sys.modules, gc.isenabled())
    """)
    assert stdout == "True False False\n"


def test_a_keras_that_cannot_be_loaded_changes_nothing_else() -> None:
    stdout, _ = said("""
        import gc, sys
        from pipeline_lib import startup
        sys.modules["tensorflow"] = None
        try:
            startup.load_keras("a training")
        except ImportError as error:
            print("tensorflow" in str(error))
        print(*(name in sys.modules for name in startup.OPTIONAL), gc.isenabled())
    """)
    assert stdout == "True\nFalse False True\n"
