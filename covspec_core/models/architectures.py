"""What differs between the supported architectures; everything else is ``hf.HFModel``'s.

All of them keep encoder, projector and ``language_model`` in ``net.model`` and the head in
``net.lm_head``, and take the encoded image in place of one placeholder a visual token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

import torch

from covspec_core.models.attention import (
    class_attention,
    received_attention,
    unwindowed_attention,
)

Picture = Mapping[str, torch.Tensor]
"""What an image processor makes of one image: ``pixel_values`` and what belongs to it."""


class Architecture(ABC):
    """One family of checkpoints.

    Attributes:
        wrap: Text that the family's own processor puts around the visual placeholders and its
            chat template does not.
        alias: What chat templates of the family may write instead of the placeholder.
    """

    wrap: tuple[str, str] = ("", "")
    alias: str | None = None

    @abstractmethod
    def features(self, net: Any, picture: Picture) -> torch.Tensor:
        """The image as the language model takes it, ``[n_visual, hidden]``."""

    @abstractmethod
    def received(self, net: Any, picture: Picture) -> torch.Tensor:
        """Attention that each visual token receives in the vision encoder, ``[n_visual]``."""

    def positions(self, net: Any, ids: torch.Tensor, picture: Picture) -> torch.Tensor:
        """Rotary positions of a prompt's tokens, ``[prompt]`` or ``[parts, prompt]``.

        Args:
            net: The model.
            ids: Prompt token ids with every placeholder in place, ``[prompt]``.
            picture: Of this prompt.
        """
        return torch.arange(len(ids))


class InternVL(Architecture):
    """InternVL 2.5 to 3.5: a square of tokens for every tile, text counted on."""

    wrap = ("<img>", "</img>")
    alias = "<image>"  # in checkpoints that were converted early

    def features(self, net: Any, picture: Picture) -> torch.Tensor:
        """As the base class says; tile after tile."""
        return _tile_features(net, picture)

    def received(self, net: Any, picture: Picture) -> torch.Tensor:
        """As the base class says: from all tokens, as the encoder's class token is not trained."""
        return received_attention(net.model, picture["pixel_values"])


class Llava(Architecture):
    """LLaVA 1.5: CLIP's tokens but the class token, text counted on."""

    def features(self, net: Any, picture: Picture) -> torch.Tensor:
        """As the base class says."""
        return _tile_features(net, picture)

    def received(self, net: Any, picture: Picture) -> torch.Tensor:
        """As the base class says: from the class token."""
        return class_attention(net.model, picture["pixel_values"])


class Qwen25VL(Architecture):
    """Qwen2.5-VL: as many tokens as the image's size asks for, positions of three parts.

    A visual token's parts are frame, row and column; text goes on behind the largest of them, so
    an image of ``h`` by ``w`` tokens moves it by ``max(h, w)`` positions instead of ``h w``.
    """

    def features(self, net: Any, picture: Picture) -> torch.Tensor:
        """As the base class says."""
        pooled = net.model.get_image_features(
            picture["pixel_values"], picture["image_grid_thw"], return_dict=True
        ).pooler_output
        return torch.cat(list(pooled))

    def received(self, net: Any, picture: Picture) -> torch.Tensor:
        """As the base class says: where the encoder looks at the whole image."""
        visual = net.model.visual
        return unwindowed_attention(visual, picture["pixel_values"], picture["image_grid_thw"])

    def positions(self, net: Any, ids: torch.Tensor, picture: Picture) -> torch.Tensor:
        """As the base class says; frame, row and column, ``[3, prompt]``."""
        kinds = (ids == net.config.image_token_id).int()
        # The library adds the grid's numbers to positions: they must share a device.
        grid = picture["image_grid_thw"].to(ids.device)
        found, _ = net.model.get_rope_index(
            ids[None], mm_token_type_ids=kinds[None], image_grid_thw=grid
        )
        positions: torch.Tensor = found[:, 0]
        return positions


def _tile_features(net: Any, picture: Picture) -> torch.Tensor:
    pooled = net.model.get_image_features(
        pixel_values=picture["pixel_values"].to(net.dtype),
        vision_feature_layer=net.config.vision_feature_layer,
        vision_feature_select_strategy=net.config.vision_feature_select_strategy,
        return_dict=True,
    ).pooler_output
    return torch.cat(list(pooled))


ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "internvl": InternVL(),
    "llava": Llava(),
    "qwen2_5_vl": Qwen25VL(),
}
"""By ``model_type``; also the list of what is supported."""
