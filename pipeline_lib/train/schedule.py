"""The learning rate of a step (paper, section V-B, with the published program's details)."""

import keras

REFERENCE_BATCH = 32


def warmup_cosine(
    base: float,
    batch: int,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float,
    scale_rate: bool = True,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up from `base` to the top rate, then a cosine that is 0 after the last step.

    The top rate is base * batch / 32, or `base` without `scale_rate`. Called with a step (0-based), it returns its rate.
    Warm-up takes the nearest whole number of steps; without any, training starts at the top rate. Raises ValueError when
    warm-up leaves no step.
    """
    top = base * batch / REFERENCE_BATCH if scale_rate else base
    steps = epochs * steps_per_epoch
    warmup = round(warmup_epochs * steps_per_epoch)
    if warmup == 0:
        return keras.optimizers.schedules.CosineDecay(top, steps)
    return keras.optimizers.schedules.CosineDecay(base, steps - warmup, warmup_target=top, warmup_steps=warmup)
