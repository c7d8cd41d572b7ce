"""Settings of all tests: no property is judged by the wall clock, which a busy machine slows at will."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
