"""Settings of a model pair, and whether a recording was made with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from covspec_core.errors import BrokenRecording, InvalidSetting
from covspec_core.models.protocol import DECODERS
from covspec_core.recording import Recording, load_recording
from covspec_core.reduction import ReductionSettings
from covspec_core.verification import Truncation
from env.presets import build


@dataclass(frozen=True)
class ModelSettings:
    """Which pair, and how it answers.

    Attributes:
        draft: Folder or hub name of the device's model.
        target: Folder or hub name of the edge's model.
        recording: Recording of the pair.
        head: File of the draft's acceptance head; none foresees nothing.
        reduction: Visual token reduction: its name, or its settings as values of
            ``ReductionSettings``, which it always is in the end.
        temperature: Of both laws; 0 is greedy.
        top_k: Most probable tokens that may be drawn; all if ``None``.
        top_p: Mass of the most probable tokens that may be drawn; all if ``None``.
        limit: Most answer tokens.
        device: Torch device.
        dtype: Torch dtype of the weights.
        decoder: Who runs the language models, one of ``DECODERS``.
    """

    draft: str
    target: str
    recording: str
    head: str | None = None
    reduction: str | Mapping[str, Any] | ReductionSettings = "covspec"
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    limit: int = 160
    device: str = "cpu"
    dtype: str = "float32"
    decoder: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "reduction", _read_reduction(self.reduction))
        if self.temperature < 0 or self.limit < 1:
            raise InvalidSetting(
                "model needs temperature >= 0 and limit >= 1, "
                f"got {self.temperature} and {self.limit}"
            )
        if self.decoder not in DECODERS:
            raise InvalidSetting(f"model.decoder must be one of {DECODERS}, got {self.decoder!r}")
        try:
            Truncation(self.top_k, self.top_p)
        except InvalidSetting as error:
            raise InvalidSetting(f"model.{error}") from error

    @property
    def truncation(self) -> Truncation:
        """Which tokens may be drawn."""
        return Truncation(self.top_k, self.top_p)

    def recorded(self) -> Recording:
        """The recording, made with this reduction and these settings of the laws.

        Raises:
            BrokenRecording: If it was made with others, or cannot be read.
        """
        recording = load_recording(self.recording)
        _check_reduction(recording, self)
        recording.check_sampling(self.temperature, self.truncation)
        return recording


def _read_reduction(values: str | Mapping[str, Any] | ReductionSettings) -> ReductionSettings:
    if isinstance(values, ReductionSettings):
        return values
    if not isinstance(values, str | Mapping):
        raise InvalidSetting(f"model.reduction must be a name or settings, got {values!r}")
    try:
        if isinstance(values, str):
            return ReductionSettings.of(values)
        return build(ReductionSettings, values, "reduction")
    except InvalidSetting as error:
        raise InvalidSetting(f"model.{error}") from error


def _check_reduction(recording: Recording, model: ModelSettings) -> None:
    wanted, made = asdict(_read_reduction(model.reduction)), recording.meta.get("reduction")
    if made is None:
        raise BrokenRecording(f"{model.recording} does not say with which reduction it was made")
    given = asdict(_read_reduction(made))
    differs = [name for name in wanted if wanted[name] != given[name]]
    if differs:
        theirs, ours = ({name: values[name] for name in differs} for values in (given, wanted))
        raise BrokenRecording(
            f"{model.recording} was made with reduction {theirs}, model.reduction has {ours}; "
            "choose another model.recording, or make one: python -m covspec_core.pair.record"
        )
