"""Hugging Face vision-language checkpoints behind the engine's model protocol."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import DynamicCache

from covspec_core.errors import InvalidRequest, InvalidSetting
from covspec_core.models.architectures import Picture
from covspec_core.models.attention import eager
from covspec_core.models.context import HFContext, check_numbers, within_memory
from covspec_core.models.lean import LeanDecoder, unsupported
from covspec_core.models.lean_context import prefill
from covspec_core.models.lean_vision import LeanEncoder, unsupported_vision
from covspec_core.models.loading import load_checkpoint
from covspec_core.models.pictures import Pictures, unsupported_images
from covspec_core.models.protocol import DECODERS, Context, Ids, Outputs, Prompt
from covspec_core.models.wording import Wording
from covspec_core.reduction import VisualStates


class HFModel:
    """A checkpoint of one of ``architectures.ARCHITECTURES``, from a folder or a hub name.

    Args:
        name: Folder or hub name, as ``from_pretrained`` takes it.
        early_layer: Layer after which visual states count as early (activity signal).
        deep_layer: Layer at which relevance and deep states are read; a third of the depth
            if ``None`` (CoVSpec, arXiv 2605.02218; the paper gives no layer).
        device: Torch device, or ``auto`` to spread the weights over all GPUs.
        dtype: Torch dtype name of the weights, ``auto`` for the checkpoint's own.
        reads_encoder: Whether visual states hold the attention within the vision encoder, which
            costs a second pass of it.
        guide: Model whose attention the visual states hold as the verifier's.
        decoder: Who runs the language model, one of ``protocol.DECODERS``. Encoder and images go
            with it: lean where they can be, unless this is ``library``.

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
        loaded = load_checkpoint(name, device, dtype)
        self.name = name
        self._net, self._tokenizer, self._images = loaded.net, loaded.tokenizer, loaded.images
        self._architecture = loaded.architecture
        self._reads_encoder, self._guide = reads_encoder, guide
        self._config = self._net.config
        kind = self._architecture
        self._wording = Wording(self._tokenizer, self._config.image_token_id, kind.wrap, kind.alias)
        self.device: torch.device = self._net.get_input_embeddings().weight.device
        layers = self._config.text_config.num_hidden_layers
        self._early = early_layer
        self._deep = max(early_layer + 1, round(layers / 3)) if deep_layer is None else deep_layer
        if not 0 <= self._early < self._deep <= layers:
            raise InvalidSetting(
                f"layers must satisfy 0 <= early < deep <= {layers}, "
                f"got early={self._early}, deep={self._deep}"
            )
        self._lean = self._make_lean(decoder)
        lean = decoder != "library" and unsupported_vision(self._net) is None
        self._encoder = LeanEncoder(self._net.model) if lean else None
        direct = lean and unsupported_images(self._images) is None
        self._pictures = Pictures(self._images) if direct else None

    def _make_lean(self, decoder: str) -> LeanDecoder | None:
        if decoder not in DECODERS:
            raise InvalidSetting(f"decoder must be one of {DECODERS}, got {decoder!r}")
        language = self._net.model.language_model
        obstacle = unsupported(language)
        if decoder == "lean" and obstacle:
            raise InvalidSetting(f"decoder lean does not fit {self.name}: {obstacle}")
        if decoder == "library" or obstacle:
            return None
        return LeanDecoder(language, self._net.lm_head.weight[: self.vocab_size], self.name)

    @cached_property
    def vocab_size(self) -> int:
        """Entries of a law: the ids that the tokenizer knows.

        Rows of the head beyond them only pad it to a round number, often a different one for the
        sizes of one family; no text can hold them.
        """
        rows = int(self._config.text_config.vocab_size)
        return min(rows, max(self._tokenizer.get_vocab().values()) + 1)

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Token to id, for every token that a law can hold."""
        known = self._tokenizer.get_vocab().items()
        return {token: index for token, index in known if index < self.vocab_size}

    @property
    def hidden_size(self) -> int:
        """Entries of a hidden state."""
        return int(self._config.text_config.hidden_size)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Token ids that end an answer.

        Raises:
            InvalidSetting: If neither the generation settings nor the tokenizer name one.
        """
        ids = self._net.generation_config.eos_token_id
        if ids is None:
            ids = self._tokenizer.eos_token_id
        if ids is None:
            raise InvalidSetting("a checkpoint must name its eos_token_id, got none")
        return frozenset(ids if isinstance(ids, list) else [ids])

    @property
    def max_tokens(self) -> int:
        """Positions that a prompt and its answer may take together."""
        return int(self._config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def prompt(self, image: Any, question: str) -> Prompt:
        """Encode a Pillow image and a question.

        Raises:
            InvalidRequest: If the question is empty, has unknown words or is too long, or the
                image has a shape that the model does not take.
        """
        self._wording.check(question, self.max_tokens)
        picture = self._picture(image)
        with within_memory(self.name, f"an image of {image.width} x {image.height} pixels"):
            features = self._features(picture)
        ids, keywords = self._wording.prompt(question, len(features))
        if len(ids) >= self.max_tokens:
            raise InvalidRequest(f"a prompt must fit {self.max_tokens} positions, got {len(ids)}")
        places = self._architecture.positions(self._net, torch.from_numpy(ids), picture)
        received = None
        if self._reads_encoder:
            received = _array(self._architecture.received(self._net, picture))
        return Prompt(
            ids=ids,
            visual=np.flatnonzero(ids == self._config.image_token_id),
            keywords=keywords,
            features=features,
            received=received,
            guide=None if self._guide is None else self._guide.prompt(image, question),
            positions=places.cpu().numpy(),
        )

    def _features(self, picture: Picture) -> torch.Tensor:
        encoder = self._encoder
        if encoder is not None and encoder.takes(picture["pixel_values"]):
            return encoder.features(picture["pixel_values"])
        return self._architecture.features(self._net, picture)

    def _picture(self, image: Any) -> dict[str, torch.Tensor]:
        try:
            shown = image.convert("RGB")
            if self._pictures is not None:
                made = self._pictures(shown)
            else:
                made = self._images(images=shown, return_tensors="pt")
        except ValueError as error:
            raise InvalidRequest(
                f"{self.name} takes no image of {image.width} x {image.height} pixels: {error}"
            ) from error
        return {name: values.to(self.device) for name, values in made.items()}

    @torch.inference_mode()
    def prefill(self, prompt: Prompt, kept: Ids | None = None) -> tuple[Context, Outputs]:
        """Read a prompt; see :class:`~covspec_core.models.protocol.VisionLanguageModel`.

        Raises:
            ModelFailure: If the model has no memory left or gives no numbers.
        """
        seen = self._seen(prompt, kept)
        embeds, places = self._embeds(prompt)[:, seen], self._places(prompt)[..., seen]
        if self._lean is not None:
            return prefill(self._lean, embeds[0], places[0], len(prompt.ids))
        cache = DynamicCache(config=self._config.text_config)
        with within_memory(self.name, f"a prompt of {len(seen)} tokens"):
            outputs = self.forward(embeds, places, cache, last=1)
        check_numbers(outputs, self.name, 1)
        n = len(prompt.ids)
        return HFContext(self, cache, n, 0, _shift(prompt)), outputs.at(0).at(-1)

    def _seen(self, prompt: Prompt, kept: Ids | None) -> torch.Tensor:
        seen = np.ones(len(prompt.ids), dtype=bool)
        if kept is not None:
            seen[prompt.visual] = False
            seen[prompt.visual[kept]] = True
        return torch.from_numpy(np.flatnonzero(seen)).to(self.device)

    def _places(self, prompt: Prompt) -> torch.Tensor:
        """Rotary positions as the language model takes them, ``[..., 1, prompt]``."""
        assert prompt.positions is not None
        return torch.from_numpy(prompt.positions).to(self.device).unsqueeze(-2)

    def _embeds(self, prompt: Prompt) -> torch.Tensor:
        embeds = self.embed(torch.from_numpy(prompt.ids).to(self.device)[None])
        embeds[0, torch.from_numpy(prompt.visual)] = prompt.features.to(embeds)
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
        with eager(language), within_memory(self.name, "the attention that ranks visual tokens"):
            return language(
                inputs_embeds=self._embeds(prompt),
                position_ids=self._places(prompt),
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
        logits = self._net.lm_head(hidden)[..., : self.vocab_size]
        return Outputs(_array(logits), _array(hidden))


def _shift(prompt: Prompt) -> int:
    """How far the position behind a prompt is from the number of its tokens."""
    assert prompt.positions is not None
    return int(prompt.positions.max()) + 1 - len(prompt.ids)


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.float().cpu().numpy()
