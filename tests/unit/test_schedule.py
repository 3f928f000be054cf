"""The learning rate at the seams."""

import math

import pytest

from pipeline_lib.train.schedule import warmup_cosine


def test_nothing_is_left_after_the_last_step() -> None:
    for warmup in (0, 3):
        rate = warmup_cosine(2.5e-4, 128, 10, 7, warmup)
        assert float(rate(69)) > 0
        assert float(rate(70)) == float(rate(71)) == 0


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 5), (0.26, 3), (1.75, 18), (0.01, 0)])
def test_warmup_epochs_may_be_fractions(epochs: float, steps: int) -> None:
    rate, top = warmup_cosine(1e-3, 64, 4, 10, epochs), 2e-3
    for step in range(steps):
        assert float(rate(step)) == pytest.approx(1e-3 + (top - 1e-3) * step / steps, rel=1e-5)
    for step in range(steps, 40):
        expected = top / 2 * (1 + math.cos(math.pi * (step - steps) / (40 - steps)))
        assert float(rate(step)) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_the_rate_is_scaled_by_the_batch_only_if_asked() -> None:
    assert float(warmup_cosine(1e-3, 256, 2, 10, 1)(10)) == pytest.approx(8e-3)
    unscaled = warmup_cosine(1e-3, 256, 2, 10, 1, scale_rate=False)
    assert float(unscaled(0)) == float(unscaled(5)) == float(unscaled(10)) == pytest.approx(1e-3)


def test_schedule() -> None:
    rate = warmup_cosine(2.5e-4, 512, 10, 100, 2)
    top = 2.5e-4 * 512 / 32
    assert float(rate(0)) == pytest.approx(2.5e-4)
    assert float(rate(100)) == pytest.approx((2.5e-4 + top) / 2)
    assert float(rate(200)) == pytest.approx(top)
    assert float(rate(600)) == pytest.approx(top / 2, rel=1e-4)
    assert float(rate(1000)) == pytest.approx(0, abs=1e-9)
    assert float(warmup_cosine(1e-3, 64, 5, 10, 0)(0)) == pytest.approx(2e-3)
    assert float(warmup_cosine(1e-3, 64, 5, 10, 0, scale_rate=False)(0)) == pytest.approx(1e-3)
    assert float(warmup_cosine(1e-3, 64, 5, 10, 0)(25)) == pytest.approx(1e-3, rel=1e-4)
