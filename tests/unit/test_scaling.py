import pytest

from pipeline_lib.search.scaling import coefficients, scale_depth, scale_width


@pytest.mark.parametrize(
    ("size", "expected"), [((384, 288), (2.90, 1.70, 1.32)), ((512, 384), (4.96, 2.47, 1.60)), ((256, 192), (0, 1, 1))]
)
def test_published_coefficients(size, expected):
    assert tuple(round(value, 2) for value in coefficients(*size)) == expected


def test_resolution_is_the_mean_of_the_sides_relative_to_the_search():
    assert coefficients(256, 192) == (0, 1, 1)
    assert coefficients(288, 384) == coefficients(384, 288)
    assert coefficients(96, 64, 96, 64) == (0, 1, 1)
    assert coefficients(115, 115, search_height=120, search_width=80)[0] == pytest.approx(1)
    phi, c_d, c_w = coefficients(100, 100, 120, 110)
    assert phi == pytest.approx(-1)
    assert c_d == pytest.approx(1 / 1.2)
    assert c_w == pytest.approx(1 / 1.1)


@pytest.mark.parametrize(
    ("blocks", "c_d", "expected"),
    [(1, 1.697, 2), (2, 1.697, 4), (4, 1.697, 7), (3, 1.0, 3), (10, 1.1, 11), (1, 0.1, 1)],
)
def test_depth_is_rounded_up(blocks, c_d, expected):
    assert scale_depth(blocks, c_d) == expected


@pytest.mark.parametrize(
    ("channels", "c_w", "expected"),
    [
        (16, 1.32, 24),  # 21.1: nearest is 24
        (32, 1.32, 40),  # 42.2
        (80, 1.32, 104),  # 105.6
        (24, 1.5, 40),  # 36: half a step goes up
        (8, 1.45, 16),  # 11.6: 8 would lose more than 10 %
        (8, 1.15, 16),  # 9.2: 8 would lose 13 %
        (8, 1.1, 8),  # 8.8: 8 loses 9 %
        (8, 0.3, 8),
        (12, 1.0, 12),
        (80, 1.08, 88),  # 86.4: 80 would lose 7 % only, but 88 is nearer
        (80, 1.04, 80),  # 83.2
        (96, 1.6, 152),  # 153.6
        (40, 0.5, 24),  # 20: half a step goes up
    ],
)
def test_width_is_rounded_to_8(channels, c_w, expected):
    assert scale_width(channels, c_w) == expected
