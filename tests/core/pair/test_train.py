"""Training: the packed pass equals separate ones; a stopped run goes on as if it had not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from covspec_core.models.small import N_VISUAL, WIDTHS, build_model
from covspec_core.pair import packing
from covspec_core.pair.data import PATCH_CLASSES, TEXT_START, Batch, Batches, patch_labels
from covspec_core.pair.evaluate import answer, batch_of, cases
from covspec_core.pair.folders import export, known, load
from covspec_core.pair.run import Recipe, Run, distances
from covspec_core.pair.tokenizer import vocabulary
from covspec_core.pair.train import main, train
from covspec_core.pair.world import draw_scene


def recipe(**changes) -> Recipe:
    settings = {
        "widths": "debug",
        "learning_rate": 1e-3,
        "scenes": 2,
        "text_tokens": 130,
        "steps": 8,
        "workers": 0,
    }
    return Recipe(**{**settings, **changes})


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(WIDTHS["debug"], vocabulary()).eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Batches(seed=0, scenes=2, text_tokens=200)[0]


@pytest.mark.parametrize("keep", [N_VISUAL, 12, 0])
@torch.inference_mode()
def test_a_packed_question_sees_the_image_and_itself_only(model, batch, keep):
    kept = packing.draw_kept(keep, batch.patches[..., 0] > 0, 0.0, torch.Generator())
    packed = packing.forward(model, batch, kept).logits
    alone = [
        packing.forward(model, only(batch, row, segment), kept[row : row + 1]).logits
        for row, last in enumerate(batch.segments.max(1).values.tolist())
        for segment in range(1, last + 1)
    ]
    torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-4, atol=1e-5)


def only(batch: Batch, row: int, segment: int) -> Batch:
    at = batch.segments[row] == segment
    tokens, positions, judged = (
        field[row][at][None] for field in (batch.tokens, batch.positions, batch.judged)
    )
    assert positions[0].tolist() == list(range(TEXT_START, TEXT_START + int(at.sum())))
    rows = slice(row, row + 1)
    return Batch(
        batch.images[rows], tokens, positions, torch.ones_like(tokens), judged, batch.patches[rows]
    )


def test_judged_positions_are_those_before_answer_tokens(batch):
    vocab = list(vocabulary())
    for row, flags in enumerate(batch.judged):
        for at in flags.nonzero()[:, 0].tolist():
            assert vocab[batch.tokens[row, at]] != "<eos>"
            assert batch.segments[row, at] == batch.segments[row, at + 1]
    answers = int(batch.judged.sum())
    assert 0.5 * batch.tokens.numel() < answers < batch.tokens.numel()


def test_patches_know_the_thing_they_show():
    scene = draw_scene("test", 0)
    labels = patch_labels(scene)
    assert labels.shape == (N_VISUAL, 8)
    for thing in scene.things:
        row, column = int(thing.y_px // 8), int(thing.x_px // 8)
        assert labels[12 * row + column, 7] == PATCH_CLASSES["cell"].index(thing.cell)
        assert labels[12 * row + column, 0] > 0


@torch.inference_mode()
def test_greedy_batches_equal_the_likeliest_tokens_of_one_pass(model):
    asked = cases("test", 5)
    answers = answer(model, asked)
    for case, ids in zip(asked, answers, strict=True):
        logits = packing.forward(model, batch_of([case], [ids[:20]]), None).logits
        assert logits.argmax(-1).tolist()[: len(ids[:20])] == ids[:20]


def test_distances_are_zero_between_equal_laws_and_one_between_disjoint_ones():
    logits = torch.randn(5, 7)
    assert all(value.abs() < 1e-6 for value in distances(logits.softmax(-1), logits).values())
    law = torch.eye(7)[:5]
    assert distances(law, 50 * torch.eye(7)[[1, 2, 3, 4, 0]])["rejection"] > 0.999


@pytest.mark.parametrize("teacher", [False, True])
def test_a_stopped_run_ends_bit_for_bit_as_one_that_never_stopped(tmp_path: Path, model, teacher):
    whole = Run(recipe(), model if teacher else None)
    train(whole, tmp_path / "whole.pt", every_steps=100)

    stopped = Run(recipe(), model if teacher else None)
    for step in range(3):
        stopped.advance(Batches(0, 2, 130)[step])
    stopped.save(tmp_path / "run.pt")
    resumed = Run(recipe(), model if teacher else None)
    resumed.load(tmp_path / "run.pt")
    train(resumed, tmp_path / "run.pt", every_steps=100)

    assert resumed.step == whole.step == 8
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_an_exported_model_loads_as_it_was(tmp_path: Path, model, batch):
    export(model, tmp_path)
    with torch.inference_mode():
        before, after = (packing.forward(m, batch, None).logits for m in (model, load(tmp_path)))
    assert torch.equal(before, after)


def test_the_command_trains_target_and_draft(tmp_path: Path):
    options = [
        "--debug",
        "--steps",
        "2",
        "--every",
        "1",
        "--out",
        str(tmp_path / "out"),
        "--work",
        str(tmp_path / "work"),
    ]
    main(options)
    for name in ("target", "draft"):
        assert (tmp_path / "out" / name / "model.safetensors").exists()


def test_a_model_trained_onward_begins_from_the_exported_one_and_may_be_a_mean_with_it(tmp_path):
    folders = ["--out", str(tmp_path / "pair"), "--work", str(tmp_path / "work")]
    usual = [*folders, "--debug", "--models", "target", "--threads", "1"]
    main([*usual, "--steps", "2"])
    before = load(tmp_path / "pair" / "target")
    main([*usual, "--steps", "1", "--onward", "--average", "0"])
    after = load(tmp_path / "pair" / "target")
    for own, old in zip(after.parameters(), before.parameters(), strict=True):
        assert torch.equal(own, old)
    main([*usual, "--steps", "2", "--onward"])
    moved = load(tmp_path / "pair" / "target")
    distances = [
        (own - old).abs().max().item()
        for own, old in zip(moved.parameters(), before.parameters(), strict=True)
    ]
    assert 0 < max(distances) < 0.1
    assert known(tmp_path / "pair")["target"]["before"]["before"]["steps"] == 2
