"""Who sends what in a round, and where a refused token is drawn anew."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from covspec_core.errors import InvalidSetting
from covspec_core.wire.formats import LawFormat


@dataclass(frozen=True, slots=True)
class WireProtocol:
    """Who sends what.

    Attributes:
        name: Name in configurations and reports.
        scalars_up: The device sends ``q(x)`` of each drafted token.
        laws_up: The device sends the full ``q`` of each drafted token.
        law_down: The edge answers a rejection with the full ``p``; the device redraws.
        law_asked: The edge answers a rejection with the wish for ``q``; the device sends it up and
            the edge redraws (DSSD's lazy variant; CoVSpec's row without decoupling).
        top: The edge answers a rejection with so many of the largest entries of ``p``, and with the
            rest only if the device asks for it; the device redraws. 0 if it does not.
        shared_noise: Both sides add the same Gumbel noise, so nothing is ever redrawn.
        format: In which a whole law travels.
    """

    name: str
    scalars_up: bool = False
    laws_up: bool = False
    law_down: bool = False
    law_asked: bool = False
    top: int = 0
    shared_noise: bool = False
    format: LawFormat = field(default_factory=LawFormat)

    @property
    def device_redraws(self) -> bool:
        """The device redraws; it begins each message with the token behind the last verdict."""
        return self.law_down or self.top > 0

    @property
    def lossless(self) -> bool:
        """The text has the target's law as long as no gate is on.

        A law that goes up may be rounded: the device draws from the rounded one. Where a rounded
        law comes down, the edge rounds the target's law before it judges, and the text follows
        that: see ``python -m covspec_core.pair.formats`` for how far it is.
        """
        return not self.law_down or self.format.exact


PROTOCOLS = {
    p.name: p
    for p in (
        WireProtocol("full", laws_up=True),
        WireProtocol("decoupled", scalars_up=True, law_down=True),
        WireProtocol("lazy", scalars_up=True, law_asked=True),
        WireProtocol("progressive", scalars_up=True, top=16),
        WireProtocol("coupled", shared_noise=True),
    )
}
"""With the settings that their names alone stand for."""


def protocol(name: str, law_format: str = "fp32", top: int | None = None) -> WireProtocol:
    """A protocol by name.

    Args:
        name: One of ``PROTOCOLS``.
        law_format: Of whole laws, one of :data:`covspec_core.wire.formats.FORMATS`.
        top: Largest entries of a law: those that ``progressive`` sends first, or all that the
            format ``top_k`` sends.

    Raises:
        InvalidSetting: If there is none of this name, or a setting means nothing for it.
    """
    if name not in PROTOCOLS:
        raise InvalidSetting(f"protocol must be one of {sorted(PROTOCOLS)}, got {name!r}")
    kind = PROTOCOLS[name]
    if top is not None and top < 1:
        raise InvalidSetting(f"protocol {name}: top must be >= 1, got {top}")
    if kind.top:
        _require_fp32(name, law_format)
        return kind if top is None else replace(kind, top=top)
    if kind.shared_noise:
        _require_fp32(name, law_format)
    return replace(kind, format=LawFormat(law_format, top or 0))


def _require_fp32(name: str, law_format: str) -> None:
    if law_format != "fp32":
        raise InvalidSetting(f"protocol {name}: law_format must be fp32, got {law_format!r}")
