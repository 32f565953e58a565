"""What a checkpoint needs of memory, worked out from its ``config.json`` alone.

``python -m covspec_core.models.memory NAME...`` prints one JSON line a checkpoint.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from transformers import AutoModelForImageTextToText

from covspec_core.ending import clear_end
from covspec_core.errors import InvalidSetting
from covspec_core.models.lean import unsupported
from covspec_core.models.lean_context import BRANCH_TOKENS
from covspec_core.models.lean_store import with_spare
from covspec_core.models.loading import DTYPES, read_config


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """Bytes that a checkpoint takes; activations are not counted.

    Attributes:
        name: Folder or hub name.
        dtype: Of weights and cache.
        parameters: Numbers in the weights.
        weights_bytes: Bytes of them.
        cache_bytes_per_token: Keys and values of one position.
        decoder: Who runs it, weights on one device: ``lean``, whose branches share the sequence's
            cache, or ``library``, whose branches copy it.
        cache_bytes: Keys and values of the sequence and all branches, spare room included.
        ranking_bytes: Attention weights of all layers in the one pass that ranks visual tokens.
    """

    name: str
    dtype: str
    parameters: int
    weights_bytes: int
    cache_bytes_per_token: int
    decoder: str
    cache_bytes: int
    ranking_bytes: int


def memory_needs(name: str, dtype: str, positions: int, branches: int) -> MemoryNeeds:
    """Needs of one checkpoint; only its configuration is read.

    Args:
        name: Folder or hub name.
        dtype: Torch dtype name.
        positions: Tokens of prompt and answer.
        branches: Drafted side by side.

    Raises:
        InvalidSetting: If no configuration loads or a number makes no sense.
    """
    if dtype not in DTYPES[:-1]:
        raise InvalidSetting(f"dtype must be one of {DTYPES[:-1]}, got {dtype!r}")
    if positions < 1 or branches < 0:
        raise InvalidSetting(
            f"positions must be >= 1 and branches >= 0, got {positions} and {branches}"
        )
    config, each = read_config(name), getattr(torch, dtype).itemsize
    with torch.device("meta"):
        net = AutoModelForImageTextToText.from_config(config)
    parameters = sum(weight.numel() for weight in net.parameters())
    text = config.text_config
    heads, layers = text.num_attention_heads, text.num_hidden_layers
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    per_token = 2 * layers * text.num_key_value_heads * width * each
    lean = unsupported(net.model.language_model) is None
    most = int(text.max_position_embeddings)
    shared = min(with_spare(positions), most) + branches * min(BRANCH_TOKENS, most)
    return MemoryNeeds(
        name=name,
        dtype=dtype,
        parameters=parameters,
        weights_bytes=parameters * each,
        cache_bytes_per_token=per_token,
        decoder="lean" if lean else "library",
        cache_bytes=per_token * (shared if lean else positions * (1 + branches)),
        ranking_bytes=layers * heads * positions**2 * each,
    )


@clear_end("memory")
def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="folder or hub name")
    parser.add_argument("--dtype", default="bfloat16", help=", ".join(DTYPES[:-1]))
    parser.add_argument("--positions", type=int, default=1024, help="tokens of prompt and answer")
    parser.add_argument("--branches", type=int, default=4, help="drafted side by side")
    args = parser.parse_args(arguments)
    for name in args.names:
        needs = memory_needs(name, args.dtype, args.positions, args.branches)
        print(json.dumps(asdict(needs)))


if __name__ == "__main__":
    main()
