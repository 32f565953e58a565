"""First values and weights of what a device keeps in mind; see ``covspec_core.kernels.status``."""

from __future__ import annotations

ACCEPTANCE_START = 0.9
HIT_RATE_START = 0.5
NEW_SHARE = 0.2
"""Weight of the newest round in every running mean, and their first values (papers/covspec.md
gives none; these are its section 3 defaults)."""
DOWN_BPS = 1e3
"""A link that is down is reported with this rate, so that logarithms stay finite."""
