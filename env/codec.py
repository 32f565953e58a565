"""The spaces of an environment, and the way there and back: statuses in, actions out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting, PolicyMismatch
from covspec_core.rounds import GATE_OFF, Actions, Bools, Floats, Ints, Status, constant
from covspec_core.scenario import PER_REQUEST, Scenario
from env.actions import GIVE_UP, GO_ON, LEVELS, SEND, Choices
from env.observations import BLOCK_RANGES, RANGES, VERSION, Scaling


@dataclass(frozen=True)
class Codec:
    """Turns statuses into observations, and indices into actions.

    Attributes:
        keep_levels: Shares of visual tokens to choose from.
        draft_lengths: Draft lengths to choose from.
        branch_widths: Branch widths to choose from.
        gate_threshold: Gate of every action; infinity is off.
        gate_levels: Gates to choose from instead, a further part of an action; none by default.
        entropy_levels: Entropies that end a block, likewise; without them none does.
        stop_levels: Chances below which a block ends, likewise.
        keep_control: When keep may be chosen, one of ``KEEP_CONTROLS``.
        level: When decisions fall, one of ``LEVELS``: before a round, or behind every token of it.
        fields: Status fields of an observation, in order; at token level those of the block too.
        version: Of the ranges in :mod:`env.observations`.
    """

    keep_levels: tuple[float, ...]
    draft_lengths: tuple[int, ...]
    branch_widths: tuple[int, ...]
    gate_threshold: float = GATE_OFF
    gate_levels: tuple[float, ...] = ()
    entropy_levels: tuple[float, ...] = ()
    stop_levels: tuple[float, ...] = ()
    keep_control: str = PER_REQUEST
    level: str = "round"
    fields: tuple[str, ...] = tuple(RANGES)
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise PolicyMismatch(f"codec needs a level of {LEVELS}, got {self.level!r}")
        ranges = RANGES | (BLOCK_RANGES if self.level == "token" else {})
        unknown = [name for name in self.fields if name not in ranges]
        if unknown or self.version != VERSION:
            raise PolicyMismatch(
                f"codec needs version {VERSION} and known fields, got version {self.version}"
                f" and unknown fields {unknown}"
            )
        # Every choice is looked at here, none when it is chosen.
        most = max(self.sizes)
        looked_at = {
            "gate_threshold": np.full(most, self.gate_threshold),
            "draft_length": np.resize(self.draft_lengths, most),
        } | {name: np.resize(levels, most) for name, levels in self.parts.items()}
        Actions(**{name: values for name, values in looked_at.items() if name != "choice"})

    @cached_property
    def _scaling(self) -> Scaling:
        return Scaling(self.fields)

    @cached_property
    def _choices(self) -> Choices:
        return Choices(self.parts)

    @staticmethod
    def of(scenario: Scenario) -> Codec:
        """The codec of a scenario's choices."""
        return Codec(
            scenario.keep_levels,
            scenario.draft_lengths,
            scenario.branch_widths,
            scenario.gate_threshold,
            scenario.gate_levels,
            scenario.entropy_levels,
            scenario.stop_levels,
            scenario.keep_control,
        )

    def at(self, level: str) -> Codec:
        """The codec of the same choices at a level; at token level with all its fields.

        Raises:
            InvalidSetting: If the level has no such choices.
        """
        if level == self.level:
            return self
        for name in ("gate_levels", "entropy_levels"):
            if getattr(self, name):
                raise InvalidSetting(
                    f"scenario.{name} must be empty at token level, got {getattr(self, name)}"
                )
        fields = (*RANGES, *BLOCK_RANGES)
        # A controller that is asked behind every token needs no thresholds to stop it.
        return replace(self, level=level, fields=fields, stop_levels=())

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Codec:
        """A codec as :meth:`to_dict` wrote it.

        Raises:
            PolicyMismatch: If a part is missing, unknown or of another version.
        """
        try:
            own: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
            }
            return Codec(**own)
        except (AttributeError, TypeError, ValueError) as error:
            raise PolicyMismatch(f"no codec of this version: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a file."""
        return asdict(self)

    @property
    def parts(self) -> dict[str, tuple[float, ...]]:
        """Choices of every part of an action, by its name in ``Actions``; optional ones last."""
        if self.level == "token":
            choices = (GO_ON, SEND, GIVE_UP)
            return {"choice": choices, "keep": self.keep_levels, "branch_width": self.branch_widths}
        parts: dict[str, tuple[float, ...]] = {
            "keep": self.keep_levels,
            "draft_length": self.draft_lengths,
            "branch_width": self.branch_widths,
            "gate_threshold": self.gate_levels,
            "entropy_stop": self.entropy_levels,
            "chance_stop": self.stop_levels,
        }
        return {name: levels for name, levels in parts.items() if levels}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of choices of every part."""
        return tuple(len(levels) for levels in self.parts.values())

    @property
    def observation_space(self) -> spaces.Box[np.float32]:
        """Bounded observations, shape ``[F]``."""
        return spaces.Box(0.0, 1.0, (len(self.fields),), np.float32)

    @property
    def action_space(self) -> spaces.MultiDiscrete:
        """Indices of keep level, draft length, branch width and optional ``parts``.

        At token level those of choice, keep level and branch width.
        """
        return spaces.MultiDiscrete(list(self.sizes))

    def encode(self, status: Status, blocks: Floats | None = None) -> NDArray[np.float32]:
        """Observations of every session, shape ``[B, F]``.

        Args:
            status: What is known.
            blocks: At token level, the blocks in hand as ``BLOCK_RANGES`` names them, ``[B, 3]``.

        Raises:
            InvalidStatus: If a value that is shown is NaN or infinite.
        """
        told = status.values if blocks is None else np.concatenate([status.values, blocks], axis=1)
        return self._scaling.observations(told)

    def index(self, actions: Actions) -> NDArray[np.int64]:
        """Indices of actions, shape ``[B, P]``: the inverse of :meth:`decode`, at round level.

        A threshold is taken for the nearest choice.

        Raises:
            InvalidAction: If another value is none of the choices.
        """
        return self._choices.indices(actions)

    def values(self, indices: NDArray[np.integer]) -> Floats:
        """What indices ``[B, P]`` choose in every part, shape ``[P, B]``.

        Raises:
            InvalidAction: If an index lies outside its space.
        """
        return self._choices.values(indices)

    def decode(self, indices: NDArray[np.integer]) -> Actions:
        """Actions of every session from indices, shape ``[B, P]``, at round level.

        Raises:
            InvalidAction: If an index lies outside its space.
        """
        assert self.level == "round"
        choices = self._choices
        chosen = choices.values(indices)
        optional = dict(zip(choices.names[3:], chosen[3:], strict=True))
        return Actions.known(
            keep=chosen[0],
            draft_length=chosen[1].astype(np.int64),
            branch_width=chosen[2].astype(np.int64),
            **{"gate_threshold": constant(len(indices), self.gate_threshold)} | optional,
        )

    def idle(self, indices: NDArray[np.integer]) -> Bools:
        """Whether nothing is sent by the actions ``[B, P]``, so that no branch width counts."""
        if self.level == "token":
            return indices[:, 0] != SEND
        return np.array(self.draft_lengths)[indices[:, 1]] == 0

    def masks(
        self, status: Status, left: Ints | None = None, branches: bool = True
    ) -> NDArray[np.bool_]:
        """Choices that are not pointless, all parts in a row, shape ``[B, sum of sizes]``.

        Masked are keep levels other than the one in use, where keep cannot change; draft lengths
        that would be cut to what the answer has left, as a shorter one is; and all widths but one
        where nothing is drafted on branches. What is pointless only beside some choice of another
        part, such as a width beside draft length 0, no mask by parts can say.

        Args:
            status: What is known.
            left: Tokens that the answers may still have, shape ``[B]``; no length is masked if
                ``None``, as a deployed controller is not told.
            branches: Whether the scenario drafts ahead on branches.
        """
        masks = {name: np.ones((len(status), len(v)), bool) for name, v in self.parts.items()}
        if self.keep_control == PER_REQUEST:
            same = np.isclose(status["keep"][:, None], self.keep_levels)
            masks["keep"] = (status["fresh"] > 0)[:, None] | same
        if left is not None:
            lengths = np.array(self.draft_lengths)
            enough = np.minimum(np.searchsorted(lengths, left), len(lengths) - 1)
            masks["draft_length"] = lengths <= lengths[enough][:, None]
        if not branches:
            masks["branch_width"][:, 1:] = False
        return np.concatenate(list(masks.values()), axis=1)
