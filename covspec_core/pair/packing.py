"""The packed forward pass: one image prefix, several questions that do not see each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from covspec_core.models.small import N_VISUAL
from covspec_core.pair.data import TEXT_START, Batch


@dataclass(frozen=True, slots=True)
class Packed:
    """Results of one packed pass.

    Attributes:
        logits: ``[judged, vocab]``, one row a judged position.
        features: ``[B, N_VISUAL, hidden]``, the visual tokens as the language model gets them.
    """

    logits: Tensor
    features: Tensor


def draw_kept(keep: int, on_thing: Tensor, bias: float, generator: torch.Generator) -> Tensor:
    """Visual tokens that stay, ``[B, keep]`` in image order.

    Args:
        keep: How many stay.
        on_thing: bool ``[B, N_VISUAL]``, whether a patch shows a thing.
        bias: Log-odds by which tokens on things are preferred; 0 is uniform.
        generator: Source of chance.
    """
    noise = torch.rand(on_thing.shape, generator=generator).clamp_min(1e-9)
    scores = bias * on_thing.float() - torch.log(-torch.log(noise))
    return scores.topk(keep, dim=1).indices.sort(dim=1).values


def forward(model: Any, batch: Batch, kept: Tensor | None) -> Packed:
    """Judged logits of every question of a batch.

    Args:
        model: An ``InternVLForConditionalGeneration``.
        batch: ``B`` scenes with packed questions.
        kept: Visual tokens that stay, ``[B, keep]``; ``None`` keeps all. Positions stay as they were.
    """
    pixels = batch.images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    features = model.model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
    prefix, positions = _prefix(model, features, kept)
    embed = model.get_input_embeddings()
    hidden = model.model.language_model(
        inputs_embeds=torch.cat([prefix, embed(batch.tokens).to(prefix.dtype)], dim=1),
        position_ids=torch.cat([positions, batch.positions], dim=1),
        attention_mask=_mask(batch.segments, prefix.shape[1], torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else prefix.dtype),
        use_cache=False,
    ).last_hidden_state
    return Packed(model.lm_head(hidden[:, prefix.shape[1] :][batch.judged]), features)


def _prefix(model: Any, features: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    """``<bos> <img>``, the kept visual tokens and ``</img>``: vectors and positions."""
    rows, _, width = features.shape
    if kept is None:
        kept = torch.arange(N_VISUAL).expand(rows, -1)
    ids = [model.config.text_config.bos_token_id, model.config.image_token_id - 2, model.config.image_token_id - 1]
    bos, left, right = model.get_input_embeddings()(torch.tensor(ids)).to(features.dtype).expand(rows, -1, -1).split(1, 1)
    chosen = features.gather(1, kept[..., None].expand(-1, -1, width))
    first, last = torch.tensor([[0, 1]]).expand(rows, -1), torch.full((rows, 1), TEXT_START - 1)
    return torch.cat([bos, left, chosen, right], dim=1), torch.cat([first, kept + 2, last], dim=1)


def _mask(segments: Tensor, prefix: int, dtype: torch.dtype) -> Tensor:
    """What is added to attention, ``[B, 1, L, L]``: 0 for the image and the own question, else -inf."""
    rows, text = segments.shape
    length = prefix + text
    whole = torch.cat([segments.new_zeros(rows, prefix), segments], dim=1)
    is_prefix = torch.arange(length) < prefix
    own = whole[:, :, None] == whole[:, None, :]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    seen = ((own | is_prefix) & earlier)[:, None]
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)
