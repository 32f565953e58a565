"""Learned controllers as folders that run on NumPy alone.

A folder holds ``controller.json`` (format, codec, network, versions, provenance), ``network.npz``
(weights), ``README.md`` (model card) and ``results.json`` (measured results).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting, PolicyMismatch
from covspec_core.rounds import Actions, Bools, Ints, Status
from covspec_core.sessions import Sessions
from env.codec import Codec
from env.tokens import Blocks
from env.views import VIEWS
from policies.memory import Memory
from policies.networks import Network

FORMAT = 2
DAMAGE = (OSError, KeyError, AttributeError, TypeError, ValueError, EOFError, BadZipFile)
"""What NumPy, zipfile and json raise on files that are no controller; ours is a ValueError."""


class LearnedController:
    """A network over the codec's observation, with the memory that it was trained with.

    Args:
        codec: Layout of observation and action.
        network: What was learned.
        meta: Provenance, kept in the folder.

    Raises:
        PolicyMismatch: If shapes do not fit the codec.
    """

    def __init__(self, codec: Codec, network: Network, meta: dict[str, Any] | None = None) -> None:
        self._view = VIEWS[network.view](codec)
        network.require(len(codec.fields), self._view.outputs)
        self.codec, self.network, self.meta = codec, network, meta or {}
        shown = any(name.startswith("chance_") for name in codec.fields)
        self.foresees = shown or any(codec.stop_levels)
        ends = np.cumsum(codec.sizes)
        self._heads = [slice(end - size, end) for end, size in zip(ends, codec.sizes, strict=True)]
        self._memory = Memory(network.history)
        self.begin(0)

    def begin(self, size: int) -> None:
        """Forget all sessions; ``size`` new ones begin together."""
        self._memory.clear()
        units = self.network.lstm.units if self.network.lstm else 0
        self._state = (np.zeros((size, units), np.float32), np.zeros((size, units), np.float32))

    def decide(self, status: Status) -> Actions:
        """The best action of every session, in the learned order.

        Statuses of one session must come one after another, each once, where there is memory.
        """
        masks = self.codec.masks(status) if self.network.masked else None
        return self.codec.decode(self.indices(self.codec.encode(status), masks))

    def indices(
        self,
        observations: NDArray[np.float32],
        masks: NDArray[np.bool_] | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Action indices ``[B, P]`` for the next observations ``[B, F]`` of all sessions.

        Args:
            observations: Of the codec.
            masks: Choices to take, shape ``[B, sum of sizes]``; all if ``None``.
            rows: Whose they are where some sessions only are asked for, shape ``[B]``.
        """
        scores = self.scores(observations, rows)
        if masks is not None:
            scores = np.where(masks, scores, -np.inf)
        if self.network.view == "flat":
            return self._view.indices(scores.argmax(1))
        if self.network.view == "box":
            return self._view.indices(np.tanh(scores))
        return np.stack([scores[:, head].argmax(1) for head in self._heads], axis=1)

    def scores(
        self, observations: NDArray[np.float32], rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """The network's outputs for the next observations ``[B, F]`` of all or some sessions."""
        shown = self._memory.add(observations, rows=rows)
        if self.network.lstm is None:
            return self.network.outputs(shown)
        if rows is None and len(self._state[0]) != len(shown):
            self.begin(len(shown))
        hidden, cell = self._state
        own = slice(None) if rows is None else rows
        hidden[own], cell[own] = self.network.lstm.step(shown, (hidden[own], cell[own]))
        return self.network.outputs(hidden[own])

    def save(self, folder: Path) -> None:
        """Write the folder's network and description; nothing half-written is left behind."""
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "network.partial.npz"
        np.savez(partial, allow_pickle=False, **self.network.arrays())
        head = {"format": FORMAT, "codec": self.codec.to_dict(), "network": self.network.to_dict()}
        text = folder / "controller.partial.json"
        text.write_text(json.dumps(head | {"meta": self.meta}, indent=2))
        partial.replace(folder / "network.npz")
        text.replace(folder / "controller.json")


class TokenController(LearnedController):
    """A network at token level: asked behind every drafted token, live or in a replay."""

    def decide(self, status: Status) -> Actions:
        """Not possible: a status does not show blocks.

        Raises:
            InvalidSetting: Always.
        """
        raise InvalidSetting(
            "a controller at token level must be asked while blocks are drafted "
            "(covspec_core.engine.decision; not on the wall clock), got a status alone"
        )

    def decide_within(self, sessions: Sessions) -> Actions:
        """Draft blocks until the network sends or gives up; the rounds that play them.

        Sessions must be asked for once a round, as :meth:`decide` is.
        """
        blocks = Blocks(sessions, self.codec)
        every = rows = np.arange(sessions.size)
        while rows.size:
            masks = self._masks(blocks, rows)
            done = blocks.step(rows, self.indices(blocks.observe(rows), masks, rows))
            rows = np.setdiff1d(rows, done, assume_unique=True)
        return blocks.actions(every)

    def _masks(self, blocks: Blocks, rows: Ints) -> Bools | None:
        return blocks.masks(rows) if self.network.masked else None


def controller_of(
    codec: Codec, network: Network, meta: dict[str, Any] | None = None
) -> LearnedController:
    """A network as a controller at its codec's level."""
    kind = TokenController if codec.level == "token" else LearnedController
    return kind(codec, network, meta)


def load_controller(folder: Path | str, codec: Codec | None = None) -> LearnedController:
    """Load a learned controller; neither Stable-Baselines3 nor torch is imported.

    Args:
        folder: Where :meth:`LearnedController.save` wrote it.
        codec: What it will be used with, at either level; must have its choices, and the fields
            that it sees.

    Raises:
        PolicyMismatch: If the folder is no controller, is broken, or was made for another codec.
    """
    folder = Path(folder)
    try:
        head = json.loads((folder / "controller.json").read_text())
        if head["format"] != FORMAT:
            raise PolicyMismatch(
                f"{folder}: format must be {FORMAT}, got {head['format']}; train it anew"
            )
        with np.load(folder / "network.npz", allow_pickle=False) as file:
            network = Network.from_dict(head["network"], file)
        controller = controller_of(Codec.from_dict(head["codec"]), network, head["meta"])
    except FileNotFoundError as error:
        missing = error.filename
        raise PolicyMismatch(f"{folder} holds no controller: {missing} is missing") from error
    except DAMAGE as error:
        if isinstance(error, PolicyMismatch):
            raise
        raise PolicyMismatch(f"{folder} holds no readable controller: {error}") from error
    if codec is not None:
        _require_same(folder, controller.codec, codec.at(controller.codec.level))
    return controller


def _require_same(folder: Path, own: Codec, wanted: Codec) -> None:
    mine, theirs = own.to_dict(), wanted.to_dict()
    blind = not set(own.fields) <= set(wanted.fields)
    for name, value in mine.items():
        if value != theirs[name] and (name != "fields" or blind):
            raise PolicyMismatch(
                f"{folder} was trained for {name}={value}, this scenario has {theirs[name]}"
            )
