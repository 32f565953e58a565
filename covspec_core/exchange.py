"""What device and edge tell each other in a round: real messages, encoded, measured and read."""

from __future__ import annotations

from typing import TypeVar

from covspec_core import wire
from covspec_core.blocks import Block
from covspec_core.device import Device
from covspec_core.edge import Edge

Message = TypeVar("Message", wire.Draft, wire.Verdict, wire.LawMessage, wire.Wish)


class Exchange:
    """Both sides in one process, with nothing but bytes between them.

    Args:
        device: One side.
        edge: The other.
        terms: What both know.
    """

    def __init__(self, device: Device, edge: Edge, terms: wire.Terms) -> None:
        self._device, self._edge, self._terms = device, edge, terms

    def verdict(self, message: wire.Draft, bonus: bool = True) -> wire.Verdict:
        """The edge's verdict on a block; ``bonus`` as in :meth:`Edge.verify`."""
        kind, vocab_size = self._terms.kind, self._terms.vocab_size
        judged = None if message.judged is None else int(message.judged.sum())
        counts = len(message.skipped), len(message.block)
        size = wire.upload_bytes(kind, *counts, vocab_size, judged)
        verdict = self._edge.verify(self._travel(message, size), bonus)
        size = wire.download_bytes(kind, verdict.token is None, vocab_size)
        return self._travel(verdict, size)

    def token(self, block: Block, verdict: wire.Verdict, position: int) -> tuple[int, bool]:
        """The token behind the accepted ones, after a second exchange where one is needed.

        Args:
            block: What was judged.
            verdict: On it.
            position: Answer tokens before the block.

        Returns:
            The token, and whether the rest of the target's law had to come for it.
        """
        said = self._device.resolve(block, verdict, position)
        if isinstance(said, int):
            return said, False
        up, down = wire.again_bytes(self._terms.kind, self._terms.vocab_size)
        if isinstance(said, wire.LawMessage):
            last = self._travel(self._edge.correct(self._travel(said, up)), down)
            token = self._device.resolve(block, last, position)
            assert isinstance(token, int)
            return token, False
        rest = self._travel(self._edge.rest(self._travel(said, up)), down)
        return self._device.redraw(block, verdict, rest, position), True

    def _travel(self, message: Message, size: int) -> Message:
        """What the other side reads; the length is the one that is charged."""
        data = message.encode(self._terms)
        assert len(data) == size, f"{type(message).__name__}: {len(data)} bytes, charged {size}"
        return type(message).decode(data, self._terms)
