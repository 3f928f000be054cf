"""One training's first step in a process of its own, phase by phase, as JSON on stdout."""

import json
import sys
import time

import psutil

from pipeline_lib import startup

CREATED = psutil.Process().create_time()


def main(initial: str, manifest_path: str, threads: int, batch: int, plain: bool) -> None:
    phases: dict[str, float] = {}
    last = CREATED

    def done(phase: str) -> None:
        nonlocal last
        now = time.time()
        phases[phase], last = now - last, now

    done("interpreter")
    if not plain:
        startup.load_keras("benchmark")
    import keras

    from pipeline_lib import devices
    from pipeline_lib.config import TrainSettings
    from pipeline_lib.data import records
    from pipeline_lib.nets import blocks, build_architecture, files
    from pipeline_lib.train import model as pose_model
    from pipeline_lib.train import trainer
    from pipeline_lib.train.schedule import warmup_cosine

    if plain:  # Keras' own layers, penalty and optimizer instead of those with fewer operations
        vars(blocks).update(BatchNormalization=keras.layers.BatchNormalization, swish="swish")
        vars(pose_model).update(penalty=lambda network: sum(network.losses))
        vars(trainer).update(Adam=keras.optimizers.Adam)
    done("imports")
    settings = TrainSettings(batch=batch, cpu_threads=threads, epochs=1)
    devices.configure(threads, settings.deterministic)
    strategy = devices.strategy("cpu")
    keras.utils.set_random_seed(1)
    architecture, weights = files.load(initial)
    network = build_architecture(architecture, weights=weights, l2=settings.l2)
    done("network")
    manifest = records.read_manifest(manifest_path)
    data = records.dataset(
        manifest,
        height=architecture.height,
        width=architecture.width,
        batch=batch,
        augmentation=settings.augmentation,
        seed=1,
        shuffle=True,
        drop_remainder=True,
        threads=threads,
    )
    next(iter(data))
    done("first batch")
    rate = warmup_cosine(settings.base_rate, batch, settings.epochs, steps_per_epoch=1, warmup_epochs=0)
    model = trainer.compiled(network, rate, settings, 1, strategy)
    model.fit(data.take(1), epochs=1, steps_per_epoch=1, verbose=0)
    done("first step")
    print(json.dumps(phases))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), "plain" in sys.argv[5:])
