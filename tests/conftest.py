"""What every test has."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is not marked slow is fast, so that both can be chosen with -m."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker("fast")
