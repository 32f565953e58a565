"""A lean vision encoder for InternVL: the library's weights, few operations a layer.

Encoder and projector of a small model spend much of a library forward on its calls. As in
:mod:`covspec_core.models.lean` projections that read the same vectors are one product, and fused
weights are the library's own: its modules see views of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from covspec_core.models.lean import fuse


class EncoderLayer(NamedTuple):
    """Weights of one layer; matrices ``[out, in]``, each with its bias (or ``None``).

    Attributes:
        norm: Weight and bias of the attention's input, ``[hidden]`` each.
        qkv: Queries, keys and values, stacked.
        out: Output of the attention.
        scale: Of the attention's output, ``[hidden]``.
        mlp_norm: Weight and bias of the feed-forward's input, ``[hidden]`` each.
        up: Into the feed-forward.
        down: Out of it.
        mlp_scale: Of the feed-forward's output, ``[hidden]``.
    """

    norm: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor | None]
    out: tuple[Tensor, Tensor]
    scale: Tensor
    mlp_norm: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    mlp_scale: Tensor


def unsupported_vision(net: Any) -> str | None:
    """Why images of a library's checkpoint cannot be encoded leanly, or ``None``."""
    config = net.config
    if config.model_type != "internvl":
        return f"model type must be 'internvl', got {config.model_type!r}"
    vision = config.vision_config
    for name, needed in (
        ("hidden_act", "gelu"), ("norm_type", "layer_norm"), ("use_qk_norm", False),
        ("use_absolute_position_embeddings", True), ("use_mean_pooling", True),
    ):  # fmt: skip
        if getattr(vision, name) != needed:
            return f"{name} must be {needed!r}, got {getattr(vision, name)!r}"
    read = config.vision_feature_layer, config.vision_feature_select_strategy
    if read != (-1, "default") or config.projector_hidden_act != "gelu":
        return (
            "the projector must read the last layer's patches through 'gelu', "
            f"got {read} and {config.projector_hidden_act!r}"
        )
    parts = net.model.vision_tower, net.model.multi_modal_projector
    devices = {str(weight.device) for part in parts for weight in part.parameters()}
    if len(devices) > 1:
        return f"weights must lie on one device, got {sorted(devices)}"
    return None


class LeanEncoder:
    """Encoder and projector of a checkpoint, for inference; see :func:`unsupported_vision`.

    Args:
        model: The library's ``InternVLModel``; its projections become views of fused weights.
    """

    @torch.no_grad()
    def __init__(self, model: Any) -> None:
        config, embeddings = model.config.vision_config, model.vision_tower.embeddings
        self._heads, self._eps = int(config.num_attention_heads), float(config.layer_norm_eps)
        self._layers = [_layer(module) for module in model.vision_tower.encoder.layer]
        patches = embeddings.patch_embeddings
        kernel = patches.projection.weight.detach()
        self.image_size, self._patch = tuple(config.image_size), tuple(config.patch_size)
        self._patches = kernel.flatten(1), patches.projection.bias.detach()
        self._places = embeddings.position_embeddings.detach()[0]
        self._class = embeddings.cls_token.detach()[0]
        self._ratio, self._shuffle = float(model.config.downsample_ratio), model.pixel_shuffle
        projector = model.multi_modal_projector
        self._norm, self._norm_eps = _pair(projector.layer_norm), projector.layer_norm.eps
        self._first, self._second = _pair(projector.linear_1), _pair(projector.linear_2)

    def takes(self, pixels: Tensor) -> bool:
        """Whether tiles ``[tiles, channels, height, width]`` have the size of the positions."""
        return tuple(pixels.shape[2:]) == self.image_size

    def features(self, pixels: Tensor) -> Tensor:
        """Tiles that :meth:`takes` agrees to as the language model takes them.

        Returns:
            Shape ``[n_visual, hidden]``, tile after tile.
        """
        x = self._embed(pixels.to(self._places.dtype))
        for layer in self._layers:
            x = self._encode(layer, x)
        return self._project(x[:, 1:])

    def _embed(self, pixels: Tensor) -> Tensor:
        """Class token and patches with their positions, ``[tiles, 1 + patches, hidden]``."""
        tiles, channels = pixels.shape[:2]
        (height, width), (rows, columns) = self._patch, self._grid
        cut = pixels.view(tiles, channels, rows, height, columns, width)
        cut = cut.permute(0, 2, 4, 1, 3, 5).reshape(tiles, rows * columns, -1)
        x = functional.linear(cut, *self._patches)
        x = torch.cat((self._class.expand(tiles, 1, -1), x), dim=1)
        return x.add_(self._places)

    @property
    def _grid(self) -> tuple[int, int]:
        return self.image_size[0] // self._patch[0], self.image_size[1] // self._patch[1]

    def _encode(self, layer: EncoderLayer, x: Tensor) -> Tensor:
        """One layer on ``[tiles, n, hidden]``."""
        inner = functional.layer_norm(x, x.shape[-1:], *layer.norm, self._eps)
        mixed = functional.linear(self._attend(functional.linear(inner, *layer.qkv)), *layer.out)
        x = torch.addcmul(x, mixed, layer.scale)
        inner = functional.layer_norm(x, x.shape[-1:], *layer.mlp_norm, self._eps)
        inner = functional.gelu(functional.linear(inner, *layer.up))
        return torch.addcmul(x, functional.linear(inner, *layer.down), layer.mlp_scale)

    def _attend(self, qkv: Tensor) -> Tensor:
        """Attention of everything to everything from ``[tiles, n, 3 * hidden]``."""
        tiles, n, _ = qkv.shape
        q, k, v = qkv.view(tiles, n, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).reshape(tiles, n, -1)

    def _project(self, patches: Tensor) -> Tensor:
        """What the projector makes of all tiles' patches, ``[n_visual, hidden]``."""
        square = patches.reshape(len(patches), *self._grid, patches.shape[-1])
        joined = self._shuffle(square, scale_factor=self._ratio).flatten(0, 2)
        inner = functional.layer_norm(joined, joined.shape[-1:], *self._norm, self._norm_eps)
        inner = functional.gelu(functional.linear(inner, *self._first))
        return functional.linear(inner, *self._second)


def _layer(module: Any) -> EncoderLayer:
    attention, mlp = module.attention, module.mlp
    qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
    bias = None if attention.q_proj.bias is None else fuse(qkv, "bias")
    return EncoderLayer(
        norm=_pair(module.layernorm_before),
        qkv=(fuse(qkv, "weight"), bias),
        out=_pair(attention.projection_layer),
        scale=module.lambda_1.detach(),
        mlp_norm=_pair(module.layernorm_after),
        up=_pair(mlp.fc1),
        down=_pair(mlp.fc2),
        mlp_scale=module.lambda_2.detach(),
    )


def _pair(module: Any) -> tuple[Tensor, Tensor]:
    return module.weight.detach(), module.bias.detach()
