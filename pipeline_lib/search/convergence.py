"""Whether a search has converged: decided from the pools of its generations alone."""

from collections.abc import Sequence


def end(best: Sequence[float | None], patience: int, min_gain: float) -> int:
    """The earliest generation with which a search can end whose first pools have the best fitness J `best`.

    A generation gains when its J is lower than that of the last one that gained (the ancestor is the first), by at least
    the fraction `min_gain` of it. The search ends with the `patience`-th generation in a row without a gain. When that is
    one of `best`, it is the end, whatever comes later; else the search goes on to there at least. A pool in which every
    training failed has no J (None), and gains nothing.
    """
    reference, gained = None, 0
    for generation, value in enumerate(best):
        if value is not None and (reference is None or (value < reference and value <= (1 - min_gain) * reference)):
            reference, gained = value, generation
        elif generation - gained >= patience:
            return generation
    return gained + patience
