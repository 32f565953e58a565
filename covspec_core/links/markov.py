"""A link that changes between any number of rates."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import Delayed, count_slots
from covspec_core.links.processes import markov_chain, stationary
from covspec_core.links.table import FloatArray, LinkTable


@dataclass(frozen=True)
class MarkovLink(Delayed):
    """A Markov chain of rates (Wang and Moayeri, IEEE Trans. Veh. Technol. 44(1), 1995).

    The chain starts in its stationary law ``p`` with ``p = p T``. Sojourns in state ``i`` are
    geometric with mean ``slot_s / (1 - T[i][i])``.

    Attributes:
        up_bps: Uplink rate of each state, ``[states]``; 0 is an outage.
        transition: ``T``: probability of going from state i to state j within a slot, rows sum
            to 1, ``[states, states]``. Every state must be reached from every other.
        down_bps: Downlink rate of each state; that of the uplink times ``down_scale`` if empty.
        down_scale: Downlink rate over uplink rate, where ``down_bps`` is empty.
        slot_s: Length of a slot.
    """

    up_bps: tuple[float, ...]
    transition: tuple[tuple[float, ...], ...]
    down_bps: tuple[float, ...] = field(default=(), kw_only=True)
    down_scale: float = field(default=1.0, kw_only=True)
    slot_s: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "slot_s")
        self._check(">= 0", "down_scale")
        for name in ("up_bps", "down_bps", "transition"):  # YAML has lists only
            object.__setattr__(self, name, _tuples(getattr(self, name)))
        states = len(_numbers("up_bps", self.up_bps, None))
        if self.down_bps:
            _numbers("down_bps", self.down_bps, (states,))
        _check_transition(_numbers("transition", self.transition, (states, states)))

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`~covspec_core.links.channels.Channel`."""
        slots = count_slots(n, duration_s, self.slot_s)
        step, up_bps = np.array(self.transition), np.array(self.up_bps)
        down_bps = np.array(self.down_bps) if self.down_bps else self.down_scale * up_bps
        states = markov_chain(rng, n, slots, step, stationary(step))
        rtt_s = self.draw_rtt_s(rng, n, slots)
        return LinkTable(self.slot_s, up_bps[states], down_bps[states], rtt_s)


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _numbers(name: str, value: object, shape: tuple[int, ...] | None) -> FloatArray:
    """Values as an array of a shape, or of any number of states.

    Raises:
        InvalidSetting: If they have no such shape, or one is negative or not finite.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    fits = array.ndim == 1 and array.size > 0 if shape is None else array.shape == shape
    if not (fits and np.isfinite(array).all() and (array >= 0).all()):
        size = "at least one state" if shape is None else f"shape {list(shape)}"
        raise InvalidSetting(f"{name} must have {size}, all finite and >= 0, got {value!r}")
    return array


def _check_transition(step: FloatArray) -> None:
    sums = step.sum(axis=1)
    wrong = np.flatnonzero(abs(sums - 1) > 1e-6)
    if wrong.size:
        sum_ = float(sums[wrong[0]])
        raise InvalidSetting(f"transition: row {wrong[0]} must sum to 1, got {sum_:.6g}")
    reached = (step > 0) | np.eye(len(step), dtype=bool)
    for _ in range(len(step).bit_length()):
        reached = reached @ reached
    if not reached.all():
        i, j = np.argwhere(~reached)[0]
        raise InvalidSetting(f"transition: state {j} must be reached from state {i}, got no way")
