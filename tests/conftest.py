"""Settings for every test: bounded, and without deadlines, which a busy machine would not keep.

`./dev fuzz` chooses the long profile.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fuzz", deadline=None, max_examples=50_000, suppress_health_check=list(HealthCheck), print_blob=True
)
settings.load_profile("default")
