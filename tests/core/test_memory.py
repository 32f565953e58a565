"""Memory needs come from a configuration alone and are what the models really take."""

from __future__ import annotations

import json

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.models.hf import HFModel
from covspec_core.models.lean_context import BranchContext
from covspec_core.models.memory import main, memory_needs
from covspec_core.pair.evaluate import cases
from covspec_core.pair.render import render
from covspec_core.provenance import ROOT
from tests.core.tiny import BUILDERS, save

CHECKPOINTS = ROOT / "docs" / "checkpoints"


def runs_leanly(model):
    return model._lean is not None


def cache_bytes(branches):
    """Of a sequence and its three branches under either decoder."""
    if isinstance(branches, BranchContext):
        return branches.store.cells.nbytes + branches._own.nbytes
    layers = branches._cache.layers
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers) // 3 * 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", sorted(BUILDERS))
def test_what_is_said_is_what_a_model_takes(tmp_path, architecture, dtype):
    model = HFModel(save(architecture, tmp_path), dtype=dtype)
    case = cases("test", 1)[0]
    prompt = model.prompt(render(case.scene), case.question.text)
    context, _ = model.prefill(prompt)
    branches = context.fork(3)
    branches.extend(np.full((3, 2), 9))
    (tmp_path / "model.safetensors").unlink()
    n = len(prompt.ids) + (0 if runs_leanly(model) else 2)
    said = memory_needs(str(tmp_path), dtype, n, 3)
    assert said.weights_bytes == sum(p.nbytes for p in model._net.parameters())
    assert said.cache_bytes == cache_bytes(branches)
    assert said.decoder == ("lean" if runs_leanly(model) else "library")
    ranked = model._read(prompt).attentions
    squared = n**2 / len(prompt.ids) ** 2
    assert said.ranking_bytes == pytest.approx(sum(a.nbytes for a in ranked) * squared)


def test_published_sizes_are_met(capsys):
    main([str(CHECKPOINTS / name) for name in ("internvl2_5-4b", "internvl2_5-78b")])
    small, large = map(json.loads, capsys.readouterr().out.splitlines())
    assert small["weights_bytes"] == pytest.approx(7.42e9, rel=1e-3)  # its files on the hub
    assert large["parameters"] == pytest.approx(78.4e9, rel=1e-3)


def test_a_configuration_of_another_kind_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InvalidSetting, match="model type must be one of"):
        memory_needs(str(tmp_path), "float32", 1, 0)
