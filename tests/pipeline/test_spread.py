"""Indices evenly spread."""

import pytest

from pipeline.spread import spread_evenly


@pytest.mark.parametrize(
    "n, count, expected", [(5, 2, [0, 4]), (5, 3, [0, 2, 4]), (3, 9, [0, 1, 2]), (9, 1, [0]), (0, 4, [])]
)
def test_first_and_last_are_among_them(n, count, expected):
    assert spread_evenly(n, count) == expected
