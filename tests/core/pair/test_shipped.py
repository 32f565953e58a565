"""The weights in ``assets/pair``: they load, share one vocabulary and know their world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covspec_core.models.hf import HFModel
from covspec_core.models.small import N_VISUAL
from covspec_core.pair import packing
from covspec_core.pair.evaluate import answer, batch_of, cases, text_of
from covspec_core.pair.folders import load
from covspec_core.pair.grading import is_right
from covspec_core.pair.render import render
from covspec_core.pair.tokenizer import vocabulary

PAIR = Path(__file__).parents[3] / "assets" / "pair"


@pytest.mark.parametrize("name", ["target", "draft"])
def test_the_folder_loads_through_the_engines_adapter(name):
    model = HFModel(str(PAIR / name))
    case = cases("test", 1)[0]
    assert len(model.prompt(render(case.scene), case.question.text).visual) == N_VISUAL
    assert (model.vocabulary, model.vocab_size) == (vocabulary(), len(vocabulary()))
    assert model.eos_ids == {vocabulary()["<eos>"]}


@torch.inference_mode()
def test_the_adapter_and_the_training_pass_give_the_same_logits():
    case = cases("test", 1)[0]
    prompt_model, net = HFModel(str(PAIR / "draft")), load(PAIR / "draft")
    prompt = prompt_model.prompt(render(case.scene), case.question.text + "?")
    kept = np.arange(0, N_VISUAL, 12)
    _, outputs = prompt_model.prefill(prompt, kept)
    batch = batch_of([case], [[]])
    packed = packing.forward(net, batch, torch.from_numpy(kept)[None]).logits[0]
    np.testing.assert_allclose(outputs.logits, packed.numpy(), atol=1e-3)


def test_most_answers_of_the_target_are_right_and_more_than_the_drafts():
    asked = cases("validation", 60)
    right = {}
    for name in ("target", "draft"):
        answers = answer(load(PAIR / name), asked)
        graded = [
            is_right(case.scene, case.question, text_of(ids))
            for case, ids in zip(asked, answers, strict=True)
        ]
        right[name] = float(np.mean(graded))
    assert right["target"] >= 0.85
    assert right["target"] > right["draft"]


def test_both_weights_are_small_enough_to_ship():
    assert sum(path.stat().st_size for path in PAIR.rglob("*") if path.is_file()) < 25e6
