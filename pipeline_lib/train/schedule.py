"""The learning rate of a step (paper, section V-B, with the published program's details)."""

from collections.abc import Sequence

import keras

REFERENCE_BATCH = 32
DECAY = 10
"""What a stepped rate is divided by."""


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
    top = _top(base, batch, scale_rate)
    steps = epochs * steps_per_epoch
    warmup = round(warmup_epochs * steps_per_epoch)
    if warmup == 0:
        return keras.optimizers.schedules.CosineDecay(top, steps)
    return keras.optimizers.schedules.CosineDecay(base, steps - warmup, warmup_target=top, warmup_steps=warmup)


def stepped(
    base: float,
    batch: int,
    steps_per_epoch: int,
    milestones: Sequence[int],
    scale_rate: bool = True,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The top rate, which is divided by 10 after each of the epochs `milestones` (ascending).

    Called with a step (0-based), it returns its rate. The top rate is that of `warmup_cosine`.
    """
    top = _top(base, batch, scale_rate)
    if not milestones:
        return keras.optimizers.schedules.PiecewiseConstantDecay([0], [top, top])
    # A value holds up to and with its boundary.
    last = [epoch * steps_per_epoch - 1 for epoch in milestones]
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        last, [top / DECAY**number for number in range(len(last) + 1)]
    )


def _top(base: float, batch: int, scale_rate: bool) -> float:
    return base * batch / REFERENCE_BATCH if scale_rate else base
