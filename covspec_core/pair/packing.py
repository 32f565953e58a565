"""The packed forward pass: one image prefix, several questions that do not see each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from covspec_core.models.small import N_VISUAL
from covspec_core.pair.data import TEXT_START, Batch
from covspec_core.pair.tokenizer import SPECIAL

FRAME: Final = tuple(SPECIAL.index(token) for token in ("<bos>", "<img>", "</img>"))


@dataclass(frozen=True, slots=True)
class Packed:
    """Results of one packed pass.

    Attributes:
        logits: ``[judged, vocab]``, one row a judged position.
        features: ``[B, N_VISUAL, hidden]``, the visual tokens as the language model gets them.
    """

    logits: Tensor
    features: Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """Visual tokens that stay, with others merged into them.

    Attributes:
        kept: Which ones, in image order, ``[B, keep]``.
        weights: Of all tokens' vectors in each, ``[B, keep, N_VISUAL]``.
    """

    kept: Tensor
    weights: Tensor

    def __getitem__(self, rows: slice) -> Seen:
        """Some of the requests."""
        return Seen(self.kept[rows], self.weights[rows])


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


def forward(model: Any, batch: Batch, kept: Tensor | Seen | None) -> Packed:
    """Judged logits of every question of a batch.

    Args:
        model: An ``InternVLForConditionalGeneration``.
        batch: ``B`` scenes with packed questions.
        kept: Visual tokens that stay, ``[B, keep]``, at their old positions; ``None`` keeps all.
            With weights, others are merged into them.
    """
    features = encode(model, batch.images)
    prefix, positions = _prefix(model, features, kept)
    words = model.get_input_embeddings()(batch.tokens).to(prefix.dtype)
    hidden = model.model.language_model(
        inputs_embeds=torch.cat([prefix, words], dim=1),
        position_ids=torch.cat([positions, batch.positions], dim=1),
        attention_mask=_additive(_packed_view(batch.segments, prefix.shape[1]), prefix.dtype),
        use_cache=False,
    ).last_hidden_state
    return Packed(model.lm_head(hidden[:, prefix.shape[1] :][batch.judged]), features)


class Decoder:
    """Several requests decoded side by side; questions of unlike length are padded on the left.

    Args:
        model: An ``InternVLForConditionalGeneration``.
        images: uint8 ``[B, 96, 96, 3]``.
        kept: As in :func:`forward`.
    """

    def __init__(self, model: Any, images: Tensor, kept: Tensor | Seen | None) -> None:
        self._model = model
        self._prefix, self._positions = _prefix(model, encode(model, images), kept)
        self._cache = DynamicCache(config=model.config.text_config)
        self._filled = torch.ones(self._prefix.shape[:2], dtype=torch.bool)
        self._next = torch.full((len(images),), TEXT_START)

    def extend(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Append tokens; the logits after the last of them, ``[B, vocab]``.

        Args:
            tokens: ``[B, new]``, padded on the left.
            lengths: Of every row without padding, ``[B]``.
        """
        index = torch.arange(tokens.shape[1]) - (tokens.shape[1] - lengths)[:, None]
        vectors = self._model.get_input_embeddings()(tokens).to(self._prefix.dtype)
        positions = (self._next[:, None] + index).clamp_min(0)
        first = self._cache.get_seq_length() == 0
        if first:
            vectors, positions = (
                torch.cat([self._prefix, vectors], 1),
                torch.cat([self._positions, positions], 1),
            )
        self._filled = torch.cat([self._filled, index >= 0], dim=1)
        self._next += lengths
        hidden = self._model.model.language_model(
            inputs_embeds=vectors, position_ids=positions, past_key_values=self._cache,
            attention_mask=_additive(self._view(vectors.shape[1]), vectors.dtype),
        ).last_hidden_state  # fmt: skip
        logits: Tensor = self._model.lm_head(hidden[:, -1]).float()
        return logits

    def _view(self, new: int) -> Tensor:
        """Who sees whom, bool ``[B, new, seen]``; padding sees itself, so that no row is empty."""
        length = self._filled.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool).tril()
        return ((self._filled[:, None] & earlier) | torch.eye(length, dtype=torch.bool))[:, -new:]


def encode(model: Any, images: Tensor) -> Tensor:
    """Visual tokens of uint8 images, ``[B, N_VISUAL, hidden]``."""
    pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    features: Tensor = model.model.get_image_features(
        pixel_values=pixels, return_dict=True
    ).pooler_output
    return features


def _prefix(model: Any, features: Tensor, kept: Tensor | Seen | None) -> tuple[Tensor, Tensor]:
    """``<bos> <img>``, the kept visual tokens and ``</img>``: vectors and positions."""
    rows, _, width = features.shape
    if kept is None:
        kept = torch.arange(N_VISUAL).expand(rows, -1)
    frame = (
        model.get_input_embeddings()(torch.tensor(FRAME)).to(features.dtype).expand(rows, -1, -1)
    )
    if isinstance(kept, Seen):
        chosen, kept = kept.weights.to(features.dtype) @ features, kept.kept
    else:
        chosen = features.gather(1, kept[..., None].expand(-1, -1, width))
    first, last = torch.tensor([[0, 1]]).expand(rows, -1), torch.full((rows, 1), TEXT_START - 1)
    return torch.cat([frame[:, :2], chosen, frame[:, 2:]], dim=1), torch.cat(
        [first, kept + 2, last], dim=1
    )


def _packed_view(segments: Tensor, prefix: int) -> Tensor:
    """Who sees whom, bool ``[B, L, L]``: the image and the own question, never what comes later."""
    rows, text = segments.shape
    length = prefix + text
    whole = torch.cat([segments.new_zeros(rows, prefix), segments], dim=1)
    own = whole[:, :, None] == whole[:, None, :]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    return (own | (torch.arange(length) < prefix)) & earlier


def _additive(view: Tensor, dtype: torch.dtype) -> Tensor:
    """Added to attention scores, ``[B, 1, new, seen]``: 0 where seen, else minus infinity."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    return torch.zeros(view.shape, dtype=dtype).masked_fill_(~view, -torch.inf)[:, None]
