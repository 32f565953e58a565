"""Every architecture keeps the promises of the model protocol; the oracle is the library itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import GotOcr2ImageProcessorPil
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
from transformers.vision_utils import get_vision_window_index

from covspec_core.errors import InvalidSetting
from covspec_core.models.attention import eager
from covspec_core.models.hf import HFModel
from covspec_core.pair.evaluate import cases
from covspec_core.pair.render import render
from tests.core.tiny import BUILDERS, VOCABULARY, save

ARCHITECTURES = sorted(BUILDERS)
CASE = cases("test", 1)[0]
QUESTION = "how many large circles are there"
WORDS = len(VOCABULARY)
EXACT = {"rtol": 0, "atol": 2e-5}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request, tmp_path_factory):
    return HFModel(save(request.param, tmp_path_factory.mktemp(request.param)))


def wide():
    """A picture that is not square, so that Qwen2.5-VL's rows and columns differ."""
    return render(CASE.scene).resize((96, 48))


@pytest.fixture(scope="module")
def prompt(model):
    return model.prompt(wide(), QUESTION)


def library(model, prompt, ids, mask=None, image=None):
    """Logits of the library's own pass over prompt and answer, ``[prompt + answer, vocab]``."""
    net, whole = model._net, torch.from_numpy(np.concatenate([prompt.ids, ids]))[None]
    inputs = dict(model._images(images=image or wide(), return_tensors="pt"))
    inputs.pop("num_patches", None)
    kinds = (whole == net.config.image_token_id).int()
    if "image_grid_thw" in inputs:
        inputs["mm_token_type_ids"] = kinds
    if mask is not None:
        inputs |= {"attention_mask": mask, "position_ids": places(net, whole, inputs, kinds)}
    with torch.inference_mode():
        return net(input_ids=whole, use_cache=False, **inputs).logits[0, :, :WORDS].numpy()


def places(net, whole, inputs, kinds):
    """Positions of the unpruned sequence; a mask alone would make the library count anew."""
    if "image_grid_thw" not in inputs:
        return torch.arange(whole.shape[1])[None]
    found, _ = net.model.get_rope_index(
        whole, mm_token_type_ids=kinds, image_grid_thw=inputs["image_grid_thw"]
    )
    return found


def answer(n, seed=0):
    return np.random.default_rng(seed).integers(8, WORDS, n)


def test_keeping_every_visual_token_changes_nothing(model, prompt):
    ids = answer(6)
    for kept in (None, np.arange(len(prompt.visual))):
        context, first = model.prefill(prompt, kept)
        own = np.concatenate([first.logits[None], context.extend(ids).logits])
        np.testing.assert_allclose(own, library(model, prompt, ids)[len(prompt.ids) - 1 :], **EXACT)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_dropped_tokens_are_as_if_masked_and_the_others_stay_in_place(model, prompt, share):
    n, ids = len(prompt.visual), answer(6)
    kept = np.sort(np.random.default_rng(1).permutation(n)[: round(share * n)])
    mask = torch.ones(1, len(prompt.ids) + len(ids), dtype=torch.long)
    mask[0, np.delete(prompt.visual, kept)] = 0
    context, first = model.prefill(prompt, kept)
    own = np.concatenate([first.logits[None], context.extend(ids).logits])
    expected = library(model, prompt, ids, mask)[len(prompt.ids) - 1 :]
    np.testing.assert_allclose(own, expected, **EXACT)
    assert np.abs(own - library(model, prompt, ids)[len(prompt.ids) - 1 :]).max() > 1e-3


def test_text_behind_an_image_goes_on_where_the_architecture_says(model, prompt):
    behind = prompt.positions[..., prompt.visual[-1] + 1 :]
    before = prompt.positions[..., : prompt.visual[0]]
    np.testing.assert_array_equal(
        before, np.broadcast_to(np.arange(before.shape[-1]), before.shape)
    )
    rows, columns = 4, 8  # of 48 x 96 pixels under the limit on size
    if prompt.positions.ndim == 2:
        assert len(prompt.visual) == rows * columns
        frame, row, column = prompt.positions[:, prompt.visual] - before.shape[-1]
        np.testing.assert_array_equal(frame, 0)
        np.testing.assert_array_equal(row, np.repeat(np.arange(rows), columns))
        np.testing.assert_array_equal(column, np.tile(np.arange(columns), rows))
        length = columns
    else:
        length = len(prompt.visual)
    first = before.shape[-1] + length
    expected = np.arange(first, first + behind.shape[-1])
    np.testing.assert_array_equal(behind, np.broadcast_to(expected, behind.shape))


def test_the_number_of_visual_tokens_follows_the_image_on_qwen_alone(model):
    sizes = ((96, 48), (48, 48), (24, 16))
    counts = [len(model.prompt(Image.new("RGB", size), QUESTION).visual) for size in sizes]
    expected = {"internvl": [36] * 3, "llava": [36] * 3, "qwen2_5_vl": [32, 36, 6]}
    assert counts == expected[model._config.model_type]


@pytest.mark.parametrize(
    ("architecture", "language"),
    [("internvl", "llama"), ("internvl", "qwen3"), ("llava", "qwen2")],
)
def test_an_architecture_holds_any_language_model_that_sees_all(tmp_path, architecture, language):
    model = HFModel(save(architecture, tmp_path, language=language))
    prompt, ids = model.prompt(wide(), QUESTION), answer(4)
    context, first = model.prefill(prompt)
    own = np.concatenate([first.logits[None], context.extend(ids).logits])
    np.testing.assert_allclose(own, library(model, prompt, ids)[len(prompt.ids) - 1 :], **EXACT)


def test_a_language_model_that_forgets_is_refused(tmp_path):
    with pytest.raises(InvalidSetting, match="must see the whole context, 2 of 2 layers"):
        HFModel(save("llava", tmp_path, language="mistral"))


def test_an_image_in_tiles_is_read_tile_by_tile(tmp_path):
    folder = save("internvl", tmp_path)
    images = GotOcr2ImageProcessorPil.from_pretrained(folder)
    images.crop_to_patches, images.max_patches = True, 2
    images.save_pretrained(folder)
    model = HFModel(folder)
    prompt, ids = model.prompt(wide(), QUESTION), answer(2)
    assert len(prompt.visual) == 3 * 36  # two tiles and the whole image
    context, first = model.prefill(prompt)
    own = np.concatenate([first.logits[None], context.extend(ids).logits])
    np.testing.assert_allclose(own, library(model, prompt, ids)[len(prompt.ids) - 1 :], **EXACT)


@pytest.mark.parametrize("seed", range(3))
def test_any_walk_through_the_cache_equals_a_fresh_one(model, prompt, seed):
    rng, n = np.random.default_rng(seed), len(prompt.visual)
    kept = np.sort(rng.permutation(n)[: n // 3])
    context, _ = model.prefill(prompt, kept)
    text: list[int] = []
    for _ in range(12):
        step = rng.integers(3)
        if step == 0 and text:
            text = text[: rng.integers(len(text))]
            context.rollback(len(text))
        elif step == 1:
            tails = rng.integers(8, WORDS, (3, int(rng.integers(1, 4))))
            branches = context.fork(3)
            branches.extend(tails)
            branch = int(rng.integers(3))
            context, text = branches.select(branch), text + tails[branch].tolist()
        else:
            new = rng.integers(8, WORDS, int(rng.integers(1, 5)))
            context.extend(new)
            text += new.tolist()
        assert context.n_tokens == len(text)
    fresh, _ = model.prefill(prompt, kept)
    if text:
        fresh.extend(np.array(text))
    probe = answer(3, seed)
    np.testing.assert_allclose(context.extend(probe).logits, fresh.extend(probe).logits, **EXACT)


def test_every_branch_equals_the_single_sequence(model, prompt):
    context, _ = model.prefill(prompt, np.arange(0, len(prompt.visual), 4))
    context.extend(answer(3))
    tails = np.stack([answer(4, seed) for seed in range(5)])
    branches = context.fork(5)
    together = np.concatenate([branches.extend(tails[:, :1]).logits,
                               branches.extend(tails[:, 1:]).logits], axis=1)  # fmt: skip
    for tail, logits in zip(tails, together, strict=True):
        np.testing.assert_allclose(context.extend(tail).logits, logits, **EXACT)
        context.rollback(3)


def test_the_image_decides_the_logits_whatever_is_kept(model):
    one = model.prompt(wide(), QUESTION)
    other = model.prompt(wide().rotate(180), QUESTION)
    np.testing.assert_array_equal(one.ids, other.ids)
    kept = np.arange(0, len(one.visual), 3)
    for share in (None, kept):
        laws = [model.prefill(prompt, share)[1].logits for prompt in (one, other)]
        assert np.abs(laws[0] - laws[1]).max() > 1e-3
    blind = [model.prefill(prompt, kept[:0])[1].logits for prompt in (one, other)]
    np.testing.assert_array_equal(*blind)


def test_visual_states_have_a_row_for_every_visual_token(model, prompt):
    reading = HFModel(model.name, reads_encoder=True, guide=HFModel(model.name))
    states = reading.visual_states(reading.prompt(wide(), QUESTION))
    assert states.n_visual == len(prompt.visual)
    assert (states.relevance > 0).all()
    assert (states.received > 0).all()
    np.testing.assert_array_equal(states.features, prompt.features.numpy())
    np.testing.assert_array_equal(states.verifier, model.text_attention(prompt))


def test_clips_class_token_says_what_it_looks_at(tmp_path):
    model = HFModel(save("llava", tmp_path), reads_encoder=True)
    tower = model._net.model.vision_tower
    pixels = model._images(images=wide(), return_tensors="pt")["pixel_values"]
    tower.set_attn_implementation("eager")
    with torch.inference_mode():
        weights = tower(pixel_values=pixels, output_attentions=True).attentions
    expected = weights[-2][0, :, 0, 1:].mean(0)
    np.testing.assert_allclose(model.prompt(wide(), QUESTION).received, expected, rtol=1e-5)


def test_qwens_encoder_is_read_where_it_sees_the_whole_image(tmp_path, monkeypatch):
    model = HFModel(save("qwen2_5_vl", tmp_path), reads_encoder=True)
    seen, plain = [], modeling_qwen2_5_vl.eager_attention_forward

    def noted(*args, **kwargs):
        seen.append(plain(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(modeling_qwen2_5_vl, "eager_attention_forward", noted)
    picture = model._images(images=wide(), return_tensors="pt")
    visual, grid = model._net.model.visual, picture["image_grid_thw"]
    with eager(visual), torch.inference_mode():
        visual(picture["pixel_values"], grid_thw=grid)
    weights = seen[0][1]  # the first block looks at everything, the second through windows
    assert weights.shape[-1] == grid.prod() > seen[1][1].shape[-1]
    patches = weights[0].mean((0, 1)).view(-1, 4).mean(1)
    order, _ = get_vision_window_index(grid, 2, 16, 4)
    expected = torch.empty_like(patches)
    expected[order] = patches
    np.testing.assert_allclose(model.prompt(wide(), QUESTION).received, expected, rtol=1e-4)


def test_a_law_holds_what_the_tokenizer_knows_and_no_padding(model, prompt):
    assert model.vocab_size == WORDS
    assert model.vocabulary == VOCABULARY
    assert model.eos_ids == {VOCABULARY["<eos>"]}
    assert model.prefill(prompt)[1].logits.shape == (WORDS,)


def test_content_words_are_found_in_the_prompt(model, prompt):
    found = model._tokenizer.convert_ids_to_tokens(prompt.ids[prompt.keywords])
    assert found == ["large", "circles"]


def test_a_checkpoint_without_an_end_token_is_refused(tmp_path):
    model = HFModel(save(ARCHITECTURES[0], tmp_path))
    model._net.generation_config.eos_token_id = model._tokenizer.eos_token = None
    with pytest.raises(InvalidSetting, match="must name its eos_token_id, got none"):
        _ = model.eos_ids
