"""A lean decoder for Qwen2-type language models: the library's weights, few operations a layer.

Small models spend most of a library forward on its calls. Here projections that read the same
vector are one product, the cache is written in place, and queries that share a key head are rows
of one attention. Fused weights are the library's own: its modules see views of them, so nothing is
stored twice and its forward (attention weights, hidden states) stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from covspec_core.models.lean_steps import Steps, compilable
from covspec_core.models.protocol import Outputs

BLOCK_TOKENS: Final = 16
"""New positions up to which masks are kept instead of made."""


class Layer(NamedTuple):
    """Weights of one layer.

    ``qkv`` and ``gate_up`` are ``[out, in]``; ``out`` and ``down``, to which the layer's input is
    added, are ``[in, out]``.

    Attributes:
        norm: Of the attention's input, ``[hidden]``.
        qkv: Queries, keys and values, stacked.
        qkv_bias: Their biases, or ``None``.
        out: Output of the attention.
        mlp_norm: Of the feed-forward's input, ``[hidden]``.
        gate_up: Gate and up projection, stacked.
        down: Output of the feed-forward.
    """

    norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class Heads(NamedTuple):
    """Attention heads: ``queries`` of them share ``keys`` key and value heads of ``size``."""

    queries: int
    keys: int
    size: int


def unsupported(language: Any) -> str | None:
    """Why a language model of the library cannot be decoded leanly, or ``None``."""
    config = language.config
    if config.model_type != "qwen2":
        return f"model type must be 'qwen2', got {config.model_type!r}"
    if config.hidden_act != "silu":
        return f"activation must be 'silu', got {config.hidden_act!r}"
    if config.rope_parameters["rope_type"] != "default":
        return f"rotary type must be 'default', got {config.rope_parameters['rope_type']!r}"
    if set(config.layer_types) != {"full_attention"}:
        return f"every layer must attend fully, got {sorted(set(config.layer_types))}"
    devices = {str(weight.device) for weight in language.parameters()}
    if len(devices) > 1:
        return f"weights must lie on one device, got {sorted(devices)}"
    return None


class LeanDecoder:
    """The language model of a checkpoint, for inference; see :func:`unsupported`.

    Args:
        language: The library's ``Qwen2Model``; its projections become views of fused weights.
        head: Matrix from hidden states to logits, ``[vocab, hidden]``.
        name: Of the model, in errors.

    Attributes:
        tables: Cosine and signed sine of all positions, ``[positions, 1, head]`` each.
        steps: Reads a few new positions of one sequence where it can be compiled.
    """

    @torch.no_grad()
    def __init__(self, language: Any, head: Tensor, name: str) -> None:
        self.name = name
        config = language.config
        attention = language.layers[0].self_attn
        sizes = config.num_attention_heads, config.num_key_value_heads, attention.head_dim
        self.heads = Heads(*sizes)
        self.max_tokens = int(config.max_position_embeddings)
        self.layers = [_layer(module) for module in language.layers]
        self.embeddings, self.head = language.embed_tokens.weight.detach(), head.detach()
        self.norm, self.eps = language.norm.weight.detach(), float(config.rms_norm_eps)
        places = torch.arange(self.max_tokens, device=head.device)
        cos, sin = language.rotary_emb(self.embeddings, places[None])
        half = sin.shape[-1] // 2
        # With the sign in the table, rotating is a roll by half a head.
        signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        self.tables = cos[0, :, None], signed[0, :, None]
        self._mask = self._banded(BLOCK_TOKENS, self.max_tokens)
        self.steps = Steps(self) if compilable(self) else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.device

    def embed(self, ids: np.ndarray[Any, Any]) -> Tensor:
        """Input vectors of token ids, shape ``[*ids.shape, hidden]``."""
        return functional.embedding(torch.from_numpy(ids).to(self.device), self.embeddings)

    def rotary(self, positions: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine of positions, shape ``[positions, 1, head]``."""
        cos, sin = self.tables
        return cos[positions], sin[positions]

    def mask(self, new: int, length: int) -> Tensor | None:
        """What each of the last ``new`` of ``length`` positions sees, added to scores.

        Shape ``[new * queries / keys, length]``, a position's queries of one key head together;
        ``None`` where the only new position sees everything.
        """
        if new == 1:
            return None
        if new > BLOCK_TOKENS:
            return self._banded(new, length)
        # The last rows and columns of a banded mask are the mask of a shorter text.
        return self._mask[-new * self.heads.queries // self.heads.keys :, -length:]

    def _banded(self, new: int, length: int) -> Tensor:
        seen = torch.ones(new, length, dtype=torch.bool, device=self.device).tril(length - new)
        mask = torch.zeros(seen.shape, dtype=self.head.dtype, device=self.device)
        mask.masked_fill_(~seen, -torch.inf)
        return mask.repeat_interleave(self.heads.queries // self.heads.keys, 0)

    def project(self, layer: Layer, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Sequence[Tensor]:
        """Queries, keys and values of inputs ``[n, hidden]``, each ``[n, heads, size]``."""
        heads = self.heads
        inner = torch.rms_norm(x, x.shape[-1:], layer.norm, self.eps)
        rows = functional.linear(inner, layer.qkv, layer.qkv_bias).view(x.shape[0], -1, heads.size)
        turned = rows[:, : heads.queries + heads.keys]
        cos, sin = rotary
        turned = torch.addcmul(turned * cos, turned.roll(heads.size // 2, -1), sin)
        values = rows[:, heads.queries + heads.keys :]
        return turned[:, : heads.queries], turned[:, heads.queries :], values

    def finish(self, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
        """The layer's output from its input and attention's, ``[n, hidden]`` both."""
        x = torch.addmm(x, attended, layer.out)
        inner = torch.rms_norm(x, x.shape[-1:], layer.mlp_norm, self.eps)
        gate, up = functional.linear(inner, layer.gate_up).chunk(2, -1)
        return torch.addmm(x, functional.silu(gate).mul_(up), layer.down)

    def outputs(self, x: Tensor) -> Outputs:
        """What the model says from the last layer's output, leading shape kept."""
        hidden = torch.rms_norm(x, x.shape[-1:], self.norm, self.eps)
        logits = functional.linear(hidden, self.head)
        return Outputs(logits.float().cpu().numpy(), hidden.float().cpu().numpy())


def _layer(module: Any) -> Layer:
    attention, mlp = module.self_attn, module.mlp
    qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
    return Layer(
        norm=module.input_layernorm.weight.detach(),
        qkv=fuse(qkv, "weight"),
        qkv_bias=fuse(qkv, "bias") if qkv[0].bias is not None else None,
        out=attention.o_proj.weight.detach().t(),
        mlp_norm=module.post_attention_layernorm.weight.detach(),
        gate_up=fuse([mlp.gate_proj, mlp.up_proj], "weight"),
        down=mlp.down_proj.weight.detach().t(),
    )


def fuse(modules: Sequence[Any], name: str) -> Tensor:
    """One tensor of several parameters, which become views of it."""
    parts = [getattr(module, name) for module in modules]
    whole = torch.cat([part.detach() for part in parts])
    for part, view in zip(parts, torch.split(whole, [len(part) for part in parts]), strict=True):
        part.data = view
    return whole
