from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The one fixture of every test, `home`, may serve all examples of a property.
_UNHEALTHY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
settings.register_profile(
    "quick", max_examples=50, deadline=None, derandomize=True, suppress_health_check=_UNHEALTHY
)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, suppress_health_check=_UNHEALTHY
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base that does not exist yet. No test ever touches the default one.

    `pytest --basetemp=DIR` decides on which file system it lies.
    """
    path = tmp_path / "home"
    monkeypatch.setenv("PUBSUB_HOME", str(path))
    return path
