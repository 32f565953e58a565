"""Backward induction over positions; :mod:`policies.oracles` says what it proves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covspec_core.rounds import Bools, Floats
from env.play import World
from policies.known import Text
from policies.one_round import Costs, Modes


def backward(
    world: World, text: Text, costs: Costs, modes: Modes
) -> tuple[Floats, NDArray[np.int16]]:
    """Least expected seconds of the requests from their first round on, and the best choices.

    Returns:
        Shapes ``[N]`` and ``[N, T, M]``.
    """
    n, tokens = text.chance.shape
    lengths = world.scenario.draft_lengths
    margin = max(lengths[-1], world.scenario.edge_burst) + 1
    rest_s: Floats = np.zeros((n, tokens + margin, modes.size))
    choice = np.zeros((n, tokens, modes.size), dtype=np.int16)
    step = _Step(world, text, costs, modes, rest_s)
    for position in range(tokens - 1, -1, -1):
        options = [step.alone(position)[..., None]] if lengths[0] == 0 else []
        options += [step.draft(position, g) for g in lengths if g > 0]
        seconds = np.concatenate(options, axis=2)
        choice[:, position] = seconds.argmin(2)
        going = (position < text.length)[:, None]
        rest_s[:, position] = np.where(going, seconds.min(2), 0.0)
    return rest_s[:, 0, 0], choice


class _Step:
    """Expected seconds from a position on, if it starts with a certain round.

    Args:
        world: Scenario.
        text: What is known of the requests.
        costs: Of one round.
        modes: States of a request.
        rest_s: Seconds from every later position and state on, ``[N, T + margin, M]``; 0 behind
            the end of an answer.
    """

    def __init__(
        self, world: World, text: Text, costs: Costs, modes: Modes, rest_s: Floats
    ) -> None:
        self._text, self._costs, self._rest_s, self._modes = text, costs, rest_s, modes
        self._burst = world.scenario.edge_burst
        self._widths = np.array(world.scenario.branch_widths)
        number = np.arange(modes.size)
        bursts = np.minimum(modes.in_a_row(number) + 1, modes.bursts)
        self._after = modes.streamed(bursts, modes.opens(number))

    def alone(self, position: int) -> Floats:
        """A burst of the edge, ``[N, M]``."""
        left = np.clip(self._text.length - position, 1, self._burst)
        spent = np.take_along_axis(self._costs.burst_s, (left - 1)[:, None, None], 2)[..., 0]
        return spent + self._rest_s[:, position + self._burst][:, self._after]

    def draft(self, position: int, length: int) -> Floats:
        """A block to check, with every branch width, ``[N, M, widths]``."""
        length = min(length, self._text.limit - position)
        refused, refused_rest_s, stands = self._refusals(position, length)
        spent = self._costs.check_s[:, :, length - 1]
        behind = self._rest_s[:, position + length + 1, 1 : 2 + self._modes.longest]
        ready = self._costs.ready[:, :, length - 1] * self._hits(position + length)[:, None]
        rest_s = np.take_along_axis(behind[:, None], ready, 2)
        refusal_s = refused[:, None] * spent[..., 1] + refused_rest_s[:, None]
        return refusal_s[..., None] + stands[:, None, None] * (spent[..., :1] + rest_s)

    def _refusals(self, position: int, length: int) -> tuple[Floats, Floats, Floats]:
        """Chance of a refusal, what then follows weighted with it, chance of none, ``[N]`` each."""
        stands = np.ones(len(self._rest_s))
        refused, rest_s = np.zeros_like(stands), np.zeros_like(stands)
        for i in range(position, min(position + length, self._text.chance.shape[1])):
            here = stands * (1 - self._text.chance[:, i])
            refused, rest_s = refused + here, rest_s + here * self._rest_s[:, i + 1, 1]
            stands = stands * self._text.chance[:, i]
        return refused, rest_s, stands

    def _hits(self, bonus: int) -> Bools:
        """Whether the bonus token would be among the candidates, ``[N, widths]``."""
        if bonus >= self._text.rank.shape[1]:
            return np.zeros((len(self._rest_s), len(self._widths)), dtype=bool)
        return self._text.rank[:, bonus, None] < self._widths
