"""What a single and a batched environment share: sessions, codec, rewards and episode seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from covspec_core.engine import realise_links
from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import Channel
from covspec_core.links.mixture import MixtureLink
from covspec_core.links.table import LinkTable
from covspec_core.links.traces import TraceLink
from covspec_core.provenance import require_source_tree
from covspec_core.randomness import mix
from covspec_core.recording import SPLITS, Recording, load_recording
from covspec_core.replay import ReplaySource
from covspec_core.rounds import Bools, Floats, Ints, Keys, RoundResult
from covspec_core.scenario import Scenario
from covspec_core.sessions import Sessions
from covspec_core.source import Source
from env.codec import Codec
from env.presets import RECORDING, named_scenario
from env.rewards import RewardWeights, total

Observations = NDArray[np.float32]


class Step(NamedTuple):
    """A step of every session, before any new one begins: all shapes ``[B]``, or ``[B, F]``."""

    observations: Observations
    rewards: Floats
    done: Bools
    result: RoundResult
    terms: dict[str, Floats]


@dataclass(frozen=True, eq=False)
class World:
    """Everything that many environments can share: read-only.

    Attributes:
        scenario: What is emulated.
        links: Realised links.
        recording: Requests of one split.
    """

    scenario: Scenario
    links: LinkTable
    recording: Recording

    @staticmethod
    def load(
        scenario: Scenario,
        split: str = "train",
        recording: str | Recording | None = None,
        link_seed: int = 0,
    ) -> World:
        """Realise the links of a split and take its requests from a recording.

        Args:
            scenario: What is emulated.
            split: ``train``, ``validation`` or ``test``: they share neither requests nor links nor
                draws of hardware.
            recording: A recording or its path; the embedded pair's if ``None``.
            link_seed: Decides the links, together with the split.

        Raises:
            InvalidSetting: If a keep level was not recorded, or the link cannot be realised.
            BrokenRecording: If the recording cannot be read or has no such split.
        """
        if recording is None:  # that of the source tree
            require_source_tree()
        if not isinstance(recording, Recording):
            recording = load_recording(recording or RECORDING)
        own = recording.only(split)
        known = np.array(own.keep_levels)
        missing = [k for k in scenario.keep_levels if not np.isclose(known, k, atol=1e-6).any()]
        if missing:
            raise InvalidSetting(f"keep_levels must be among {own.keep_levels}, got {missing}")
        place = SPLITS.index(split)
        link = _of_split(scenario.link, split)
        scenario = replace(scenario, link=link, hardware_draw=place)
        return World(scenario, realise_links(scenario, len(SPLITS) * link_seed + place), own)

    @staticmethod
    def chosen(
        scenario: Scenario | None,
        choices: Mapping[str, Any],
        split: str,
        recording: str | Recording | None,
    ) -> World:
        """:meth:`load` for a scenario, or for that which choices name.

        Args:
            scenario: What is emulated, or ``None``.
            choices: Arguments of :func:`env.presets.named_scenario`; none beside a scenario.
            split: See :meth:`load`.
            recording: See :meth:`load`.

        Raises:
            InvalidSetting: If there are choices beside a scenario, if it is none, or as
                :meth:`load` does.
            BrokenRecording: As :meth:`load` does.
        """
        if scenario is not None and choices:
            raise InvalidSetting(f"scenario must stand alone, got {sorted(choices)} beside it")
        if scenario is None:
            scenario = named_scenario(**choices)
        if not isinstance(scenario, Scenario):
            raise InvalidSetting(
                f"scenario must be a Scenario, got {scenario!r}; link= takes names of conf/link"
            )
        return World.load(scenario, split, recording)

    def replay(self, size: int) -> ReplaySource:
        """A source of recorded outcomes for ``size`` sessions."""
        scenario = self.scenario
        return ReplaySource(self.recording, scenario.protocol, size, gate=scenario.gate)


def _of_split(link: Channel, split: str) -> Channel:
    """Measured links of a split; emulated ones differ by their seed alone."""
    if isinstance(link, MixtureLink):
        return MixtureLink({name: _of_split(part, split) for name, part in link.parts.items()})
    return replace(link, split=split) if isinstance(link, TraceLink) else link


def keys_of(seeds: Iterable[Any]) -> Keys:
    """Seeds of sessions as the engine takes them, shape ``[k]``.

    Raises:
        InvalidSetting: If one is no integer of 64 bits.
    """
    seeds = list(seeds)
    for seed in seeds:
        if not isinstance(seed, int | np.integer) or not 0 <= int(seed) < 2**64:
            raise InvalidSetting(f"a seed must be an integer in [0, 2^64), got {seed!r}")
    return np.array(seeds, dtype=np.uint64)


class Play:
    """``B`` sessions as an environment sees them.

    Args:
        world: Scenario, links and requests.
        source: Outcomes.
        size: Number of sessions.
        weights: Weights of the reward's terms.

    Attributes:
        sessions: The engine's.
        codec: Of observations and actions.
        edge_only_s: Seconds in which the edge alone would answer the sessions, shape ``[B]``.
    """

    def __init__(
        self, world: World, source: Source | ReplaySource, size: int, weights: RewardWeights
    ) -> None:
        if not isinstance(weights, RewardWeights):
            raise InvalidSetting(f"reward must be RewardWeights, got {weights!r}")
        self.sessions = Sessions(world.scenario, world.links, source, size)
        self.codec = Codec.of(world.scenario)
        self._weights = weights
        self._base = np.zeros(size, dtype=np.uint64)
        self._episode = np.zeros(size, dtype=np.uint64)
        self._clock_s, self.edge_only_s = np.zeros(size), np.ones(size)

    @property
    def observation_space(self) -> spaces.Box[np.float32]:
        """Bounded observations, shape ``[F]``."""
        return self.codec.observation_space

    @property
    def action_space(self) -> spaces.MultiDiscrete:
        """Choices of an action."""
        return self.codec.action_space

    def seed(self, base: Keys, rows: Ints | None = None) -> None:
        """Forget all episodes; the next ones follow from these seeds alone.

        Args:
            base: Seeds, shape ``[k]``.
            rows: Whose they are, shape ``[k]``; of all sessions if ``None``.
        """
        own = slice(None) if rows is None else rows
        self._base[own], self._episode[own] = base, 0

    def begin(self, rows: Ints) -> None:
        """Begin the next episode in some rows.

        Raises:
            InvalidSetting: If time is rewarded, but what the edge alone would take is not known.
            LinkTimeout: If a link stays dead beyond the scenario's deadline.
        """
        self.sessions.begin(rows, mix(self._base[rows], self._episode[rows]))
        self._episode[rows] += np.uint64(1)
        self._clock_s[rows] = 0.0
        self.edge_only_s[rows] = self.sessions.edge_only_s(rows)
        if self._weights.time > 0 and np.isnan(self.edge_only_s[rows]).any():
            raise InvalidSetting(
                "reward.time must be 0 where a source does not know the lengths of its answers "
                f"beforehand (Request.tokens), got {self._weights.time}"
            )

    def observe(self) -> Observations:
        """Observations of all sessions, ``[B, F]``."""
        return self.codec.encode(self.sessions.status())

    def observe_some(self, rows: Ints) -> Observations:
        """Observations of some sessions, ``[k, F]``."""
        return self.codec.encode(self.sessions.status_of(rows))

    def masks(self) -> Bools:
        """Choices of all sessions that are not pointless; see :meth:`env.codec.Codec.masks`."""
        sessions = self.sessions
        left, branches = sessions.limit - sessions.place.position, not sessions.scenario.post_verify
        return self.codec.masks(sessions.status(), left, branches)

    def step(self, indices: NDArray[np.integer]) -> Step:
        """Play one round everywhere; sessions that are done must be begun again.

        Args:
            indices: Actions, shape ``[B, P]``.

        Raises:
            InvalidAction: If an index lies outside its space, or actions do not come for all.
            SessionOver: If a session is done.
            LinkTimeout: If a link stays dead beyond the scenario's deadline.
        """
        return self._step_of(self.sessions.play(self.codec.decode(indices)))

    def _step_of(self, result: RoundResult) -> Step:
        """What is seen and earned behind a round, or at token level a step of it."""
        now_s = self.sessions.now_s
        elapsed_s, self._clock_s = now_s - self._clock_s, now_s.copy()
        terms = self._weights.terms(result, elapsed_s, self.edge_only_s)
        rewards = total(terms, len(now_s))
        return Step(self.observe(), rewards, result.session_done, result, terms)
