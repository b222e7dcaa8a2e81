"""Comparing what two machines computed."""

from typing import Any

import pytest


def assert_near(left: Any, right: Any, path: str = "") -> None:
    """Equal apart from the last digits of numbers."""
    if isinstance(left, dict) and isinstance(right, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            assert_near(left[key], right[key], f"{path}/{key}")
    elif isinstance(left, list) and isinstance(right, list):
        assert len(left) == len(right), path
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_near(one, other, f"{path}/{index}")
    elif isinstance(left, float):
        assert left == pytest.approx(right, abs=1e-6), path
    else:
        assert left == right, path
