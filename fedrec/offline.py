"""Switches that keep Flower and Ray from calling home; set before either is imported."""

import os

OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def go_offline() -> None:
    """Set the switches for this process and its children."""
    os.environ.update(OFFLINE)
