"""``CoVSpec-v0``: one session, over a recording (default) or live models."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting
from covspec_core.recording import Recording
from covspec_core.replay import ReplaySource
from covspec_core.scenario import Scenario
from covspec_core.source import Source
from env.play import Play, Step, World, keys_of
from env.render import Timeline
from env.rewards import RewardWeights
from env.tokens import TokenPlay


class CoVSpecEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.int64]]):
    """Set pruning ratio, draft length and branch width of every round of a session.

    An episode is a session: a few requests, one after another, on one link. The action indexes
    keep level, draft length, branch width and, as the scenario has ``stop_levels`` by default, the
    predicted acceptance probability below which a block ends; ``gate_levels`` and
    ``entropy_levels`` add an index each before the last. The keep level counts in the first round
    of a request, unless the scenario's ``keep_control`` is ``per_round``. The reward of a round is
    minus its virtual seconds over the session's edge-only seconds, so the undiscounted return is
    ``-1 / speedup``.

    ``reset`` tells ``edge_only_s``, the seconds in which the edge alone would answer the session;
    ``step`` tells the ``round`` (a :class:`~covspec_core.rounds.RoundResult` in plain numbers), the
    ``terms`` of the reward and, at the end, the session's ``speedup``. Sessions end, none is cut.

    Args:
        scenario: What is emulated; built from ``choices`` if ``None``.
        split: ``train``, ``validation`` or ``test``.
        recording: A recording or its path; the embedded pair's if ``None``.
        reward: Weights of the reward's terms; time alone if ``None``.
        source: Outcomes for one session, such as a ``LiveSource``; the recording if ``None``.
            Time can be rewarded only if its requests bring the lengths of their answers.
        render_mode: ``ansi`` or ``rgb_array``.
        **choices: Arguments of :func:`env.presets.named_scenario`; none beside ``scenario``.

    Raises:
        InvalidSetting: If a setting breaks its rule.
        BrokenRecording: If the recording cannot be read or has no such split.
    """

    _play_type: type[Play] = Play
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        scenario: Scenario | None = None,
        split: str = "train",
        recording: str | Recording | None = None,
        reward: RewardWeights | None = None,
        source: Source | ReplaySource | None = None,
        render_mode: str | None = None,
        **choices: Any,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            modes = self.metadata["render_modes"]
            raise InvalidSetting(f"render_mode must be one of {modes}, got {render_mode!r}")
        world = World.chosen(scenario, choices, split, recording)
        self.play = self._play_type(world, source or world.replay(1), 1, reward or RewardWeights())
        self.observation_space = self.play.observation_space
        self.action_space = self.play.action_space
        self.render_mode = render_mode
        self._timeline = Timeline(world.scenario)
        self._seeded = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a session; equal seeds give equal sessions.

        Args:
            seed: Decides this session and those that follow; without one the next session follows.
            options: Not used.

        Raises:
            InvalidSetting: If the seed has more than 64 bits, or see :meth:`env.play.Play.begin`.
            LinkTimeout: If the link stays dead beyond the scenario's deadline.
        """
        super().reset(seed=seed)
        if seed is not None:
            self.play.seed(keys_of([seed]))
        elif not self._seeded:
            self.play.seed(self.np_random.integers(2**63, size=1, dtype=np.uint64))
        self._seeded = True
        self.play.begin(np.array([0]))
        self._timeline.clear()
        return self.play.observe()[0], {"edge_only_s": float(self.play.edge_only_s[0])}

    def step(
        self, action: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Play one draft-and-verify round.

        Raises:
            InvalidAction: If the action lies outside its space.
            SessionOver: If the session is over and was not reset.
            LinkTimeout: If the link stays dead beyond the scenario's deadline.
        """
        step = self.play.step(np.asarray(action)[None])
        info = self._info(step)
        if step.result.emitted[0]:
            self._timeline.add(info["round"])
        return step.observations[0], float(step.rewards[0]), bool(step.done[0]), False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Choices that are not pointless, all parts in a row (as sb3-contrib's MaskablePPO asks).

        See :meth:`env.codec.Codec.masks`.
        """
        masks: NDArray[np.bool_] = self.play.masks()[0]
        return masks

    def _info(self, step: Step) -> dict[str, Any]:
        info: dict[str, Any] = {"round": step.result.row(0)}
        info["terms"] = {name: float(term[0]) for name, term in step.terms.items()}
        if step.done[0]:
            seconds = float(self.play.sessions.now_s[0])
            info["speedup"] = float(self.play.edge_only_s[0]) / seconds
        return info

    def render(self) -> Any:
        """The last rounds: text, or bytes ``[HEIGHT, WIDTH, 3]`` as in :mod:`env.picture`."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() was called without a render_mode; nothing is drawn")
            return None
        return self._timeline.ansi() if self.render_mode == "ansi" else self._timeline.rgb_array()


class CoVSpecTokenEnv(CoVSpecEnv):
    """Decide after every drafted token of a session: go on, send, or give up.

    The same sessions, engine and rewards as :class:`CoVSpecEnv`; :class:`env.tokens.Blocks` says
    what actions do and observations show. Where a step drafts and nothing is played, ``round`` in
    ``info`` holds zeros.
    """

    _play_type = TokenPlay
