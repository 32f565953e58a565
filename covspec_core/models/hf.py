"""Hugging Face vision-language checkpoints behind the engine's model protocol."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.cache_utils import DynamicCache
from transformers.utils import logging

from covspec_core.errors import InvalidRequest, InvalidSetting
from covspec_core.models.attention import eager, received_attention
from covspec_core.models.lean import LeanDecoder, unsupported
from covspec_core.models.lean_context import prefill
from covspec_core.models.protocol import (
    DECODERS,
    Context,
    Ids,
    Outputs,
    Prompt,
    check_positions,
)
from covspec_core.reduction import VisualStates

IMAGE_WRAP = {"internvl": ("<img>", "</img>")}
"""Text around the visual placeholders, by ``model_type``; also the list of supported types."""

_STOP = (
    "a an and any are at be by can do does for from has have how i in is it its many me near of "
    "on or please see that the them there these they this those to what where which with you "
    "? . , ! : ;"
)
STOP_WORDS = frozenset(_STOP.split())
"""Words of a question that are no keywords."""


def hide_progress() -> None:
    """Load without the library's progress bars."""
    logging.disable_progress_bar()


class HFContext:
    """One sequence, or several branches of it, in a ``DynamicCache``."""

    def __init__(self, model: HFModel, cache: DynamicCache, prompt_tokens: int, n_tokens: int):
        self._model, self._cache = model, cache
        self._prompt_tokens, self._n_tokens = prompt_tokens, n_tokens

    @property
    def n_tokens(self) -> int:
        """Answer tokens in the cache."""
        return self._n_tokens

    def extend(self, ids: Ids) -> Outputs:
        """Append answer tokens; see :class:`~covspec_core.models.protocol.Context`."""
        rows = torch.from_numpy(np.atleast_2d(ids)).to(self._model.device)
        start = self._prompt_tokens + self._n_tokens
        positions = torch.arange(start, start + rows.shape[1], device=rows.device)[None]
        check_positions(start + rows.shape[1], self._model.max_tokens)
        outputs = self._model.forward(self._model.embed(rows), positions, self._cache)
        self._n_tokens += rows.shape[1]
        return outputs if ids.ndim == 2 else outputs.at(0)

    def rollback(self, n_tokens: int) -> None:
        """Drop the last answer tokens until ``n_tokens`` are left."""
        assert 0 <= n_tokens <= self._n_tokens
        self._cache.crop(n_tokens - self._n_tokens)
        self._n_tokens = n_tokens

    def fork(self, branches: int) -> HFContext:
        """A context that continues this one ``branches`` times side by side."""
        return self._with_rows(torch.zeros(branches, dtype=torch.long))

    def select(self, branch: int) -> HFContext:
        """The single sequence of one branch."""
        return self._with_rows(torch.tensor([branch]))

    def _with_rows(self, rows: torch.Tensor) -> HFContext:
        # Layers replace their tensors on update, so a shallow copy leaves this context intact.
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        cache.batch_select_indices(rows.to(self._model.device))
        return HFContext(self._model, cache, self._prompt_tokens, self._n_tokens)


class HFModel:
    """An InternVL-family checkpoint, from a folder or a hub name.

    Args:
        name: Folder or hub name, as ``from_pretrained`` takes it.
        early_layer: Layer after which visual states count as early (activity signal).
        deep_layer: Layer at which relevance and deep states are read; a third of the depth
            if ``None`` (CoVSpec, arXiv 2605.02218; the paper gives no layer).
        device: Torch device.
        dtype: Torch dtype name of the weights, ``auto`` for the checkpoint's own.
        reads_encoder: Whether visual states hold the attention within the vision encoder, which
            costs a second pass of it.
        guide: Model whose attention the visual states hold as the verifier's.
        decoder: One of ``DECODERS``: who runs the language model.

    Raises:
        InvalidSetting: If nothing loads from ``name``, its architecture or the decoder for it is
            not supported or it has no such layers.
    """

    def __init__(
        self,
        name: str,
        early_layer: int = 1,
        deep_layer: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        reads_encoder: bool = False,
        guide: HFModel | None = None,
        decoder: str = "auto",
    ) -> None:
        self._load(name, dtype)
        self._reads_encoder, self._guide = reads_encoder, guide
        self._net.to(device).eval()
        self._config = self._net.config
        self.device = torch.device(device)
        layers = self._config.text_config.num_hidden_layers
        self._early = early_layer
        self._deep = max(early_layer + 1, round(layers / 3)) if deep_layer is None else deep_layer
        if not 0 <= self._early < self._deep <= layers:
            raise InvalidSetting(
                f"layers must satisfy 0 <= early < deep <= {layers}, "
                f"got early={self._early}, deep={self._deep}"
            )

        self._lean = self._make_lean(decoder)

    def _make_lean(self, decoder: str) -> LeanDecoder | None:
        if decoder not in DECODERS:
            raise InvalidSetting(f"decoder must be one of {DECODERS}, got {decoder!r}")
        obstacle = unsupported(self._config.text_config)
        if decoder == "lean" and obstacle:
            raise InvalidSetting(f"decoder lean does not fit this model: {obstacle}")
        if decoder == "library" or obstacle:
            return None
        return LeanDecoder(self._net.model.language_model, self._net.lm_head.weight)

    def _load(self, name: str, dtype: str) -> None:
        try:
            model_type = AutoConfig.from_pretrained(name).model_type
            if model_type not in IMAGE_WRAP:
                raise InvalidSetting(
                    f"model type must be one of {sorted(IMAGE_WRAP)}, got {model_type!r} in {name}"
                )
            self._wrap = IMAGE_WRAP[model_type]
            self._net = AutoModelForImageTextToText.from_pretrained(
                name, dtype=dtype if dtype == "auto" else getattr(torch, dtype)
            )
            self._tokenizer = AutoTokenizer.from_pretrained(name)
            self._images = AutoImageProcessor.from_pretrained(name, backend="pil")
        except OSError as error:
            kind = "folder" if Path(name).exists() else "folder or hub checkpoint"
            raise InvalidSetting(f"no model loads from {kind} {name!r}: {error}") from error

    @property
    def vocab_size(self) -> int:
        """Entries of a law."""
        return int(self._config.text_config.vocab_size)

    @property
    def hidden_size(self) -> int:
        """Entries of a hidden state."""
        return int(self._config.text_config.hidden_size)

    @property
    def n_visual(self) -> int:
        """Visual tokens an image becomes."""
        return int(self._config.image_seq_length)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Token ids that end an answer."""
        ids = self._net.generation_config.eos_token_id
        return frozenset(ids if isinstance(ids, list) else [ids])

    @property
    def max_tokens(self) -> int:
        """Positions that a prompt and its answer may take together."""
        return int(self._config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def prompt(self, image: Any, question: str) -> Prompt:
        """Encode a Pillow image and a question.

        Raises:
            InvalidRequest: If the question is empty, has unknown words or is too long.
        """
        question_ids = self._question_ids(question)
        ids = self._tokenizer(self._text(question), add_special_tokens=False)["input_ids"]
        if len(ids) >= self.max_tokens:
            raise InvalidRequest(f"a prompt must fit {self.max_tokens} positions, got {len(ids)}")
        pixels = self._images(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
        features = self._net.model.get_image_features(
            pixel_values=pixels.to(self.device),
            vision_feature_layer=self._config.vision_feature_layer,
            vision_feature_select_strategy=self._config.vision_feature_select_strategy,
            return_dict=True,
        ).pooler_output.flatten(0, 1)
        received = None
        if self._reads_encoder:
            received = _array(received_attention(self._net.model, pixels.to(self.device)))
        return Prompt(
            ids=np.asarray(ids, dtype=np.int64),
            visual=np.flatnonzero(np.asarray(ids) == self._config.image_token_id),
            keywords=self._keywords(ids, question_ids),
            features=features,
            received=received,
            guide=None if self._guide is None else self._guide.prompt(image, question),
        )

    def _question_ids(self, question: str) -> list[int]:
        ids: list[int] = self._tokenizer(question, add_special_tokens=False)["input_ids"]
        if not ids:
            raise InvalidRequest(f"a question must hold at least one word, got {question!r}")
        unknown = self._tokenizer.unk_token_id
        if unknown is not None and unknown in ids:
            tokens = self._tokenizer.backend_tokenizer
            words = [word for word, _ in tokens.pre_tokenizer.pre_tokenize_str(question.lower())]
            strange = [word for word in words if tokens.token_to_id(word) is None]
            raise InvalidRequest(f"words outside the model's vocabulary: {', '.join(strange)}")
        return ids

    def _text(self, question: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text: str = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        token = self._tokenizer.convert_ids_to_tokens(self._config.image_token_id)
        left, right = self._wrap
        return text.replace(token, f"{left}{token * self.n_visual}{right}", 1)

    def _keywords(self, ids: list[int], question_ids: list[int]) -> Ids:
        n = len(question_ids)
        starts = (i for i in range(len(ids) - n, -1, -1) if ids[i : i + n] == question_ids)
        start = next(starts, len(ids) - n)
        words = [self._tokenizer.decode([i]).strip().lower() for i in question_ids]
        content = [i for i, word in enumerate(words) if word not in STOP_WORDS]
        return start + np.asarray(content or range(n), dtype=np.int64)

    @torch.inference_mode()
    def prefill(self, prompt: Prompt, kept: Ids | None = None) -> tuple[Context, Outputs]:
        """Read a prompt; see :class:`~covspec_core.models.protocol.VisionLanguageModel`."""
        seen = self._seen(prompt, kept)
        embeds = self._embeds(prompt)[:, seen]
        if self._lean is not None:
            return prefill(self._lean, embeds[0], seen, len(prompt.ids))
        cache = DynamicCache(config=self._config.text_config)
        outputs = self.forward(embeds, seen[None], cache, last=1)
        return HFContext(self, cache, len(prompt.ids), 0), outputs.at(0).at(-1)

    def _seen(self, prompt: Prompt, kept: Ids | None) -> torch.Tensor:
        seen = np.ones(len(prompt.ids), dtype=bool)
        if kept is not None:
            seen[prompt.visual] = False
            seen[prompt.visual[kept]] = True
        return torch.from_numpy(np.flatnonzero(seen)).to(self.device)

    def _embeds(self, prompt: Prompt) -> torch.Tensor:
        embeds = self.embed(torch.from_numpy(prompt.ids).to(self.device)[None])
        embeds[0, torch.from_numpy(prompt.visual)] = prompt.features.to(embeds.dtype)
        return embeds

    def visual_states(self, prompt: Prompt) -> VisualStates:
        """Attention of the keywords and states of the visual tokens at two layers.

        Beside them the input vectors and, if the model was loaded for them, the attention within
        the encoder and that of the guide.
        """
        out = self._read(prompt)
        weights = out.attentions[self._deep - 1][0].mean(0)
        visual, keywords = torch.from_numpy(prompt.visual), torch.from_numpy(prompt.keywords)
        verifier = None
        if self._guide is not None and prompt.guide is not None:
            verifier = self._guide.text_attention(prompt.guide)
        return VisualStates(
            relevance=_array(weights[keywords][:, visual].mean(0)),
            early=_array(out.hidden_states[self._early][0, visual]),
            deep=_array(out.hidden_states[self._deep][0, visual]),
            features=_array(prompt.features),
            received=prompt.received,
            verifier=verifier,
        )

    def text_attention(self, prompt: Prompt) -> NDArray[np.float32]:
        """Attention of the text behind the image to each visual token, ``[n_visual]``.

        Last layer, mean over heads and over the text's tokens (SpecVLM, arXiv 2508.16201).
        """
        weights = self._read(prompt).attentions[-1][0].mean(0)
        text = weights[int(prompt.visual[-1]) + 1 :]
        return _array(text[:, torch.from_numpy(prompt.visual)].mean(0))

    @torch.inference_mode()
    def _read(self, prompt: Prompt) -> Any:
        """One pass over a whole prompt with all attention weights and hidden states."""
        language = self._net.model.language_model
        with eager(language):
            return language(
                inputs_embeds=self._embeds(prompt),
                past_key_values=DynamicCache(config=self._config.text_config),
                output_attentions=True,
                output_hidden_states=True,
            )

    def decode(self, ids: Ids) -> str:
        """Text of answer tokens."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Input vectors of token ids."""
        return self._net.get_input_embeddings()(ids).detach().clone()

    @torch.inference_mode()
    def forward(
        self, embeds: torch.Tensor, positions: torch.Tensor, cache: DynamicCache, last: int = 0
    ) -> Outputs:
        """Outputs at the ``last`` positions (all if 0), leading shape ``[rows, positions]``."""
        # With a cache the library builds a plain causal mask; without one, gaps in the position
        # ids would be taken for packed sequences and cut the image off from the text.
        hidden = self._net.model.language_model(
            inputs_embeds=embeds, position_ids=positions, past_key_values=cache
        ).last_hidden_state[:, -last:]
        return Outputs(_array(self._net.lm_head(hidden)), _array(hidden))


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.float().cpu().numpy()
