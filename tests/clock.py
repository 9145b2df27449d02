"""A clock for what is cached: time passes when a test says so."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_sso.login import cached


class Clock:
    """The clock that caches look at."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        self.seconds += 0.001
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cached, "time", SimpleNamespace(monotonic=made))
    return made
