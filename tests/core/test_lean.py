"""The lean decoder says what the library says, whatever was done to its contexts before."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2Model

from covspec_core.errors import InvalidSetting, ModelFailure, OutOfMemory
from covspec_core.models import lean_context, lean_steps
from covspec_core.models.hf import HFModel
from covspec_core.models.lean import BLOCK_TOKENS, LeanDecoder, unsupported
from covspec_core.models.lean_context import prefill
from covspec_core.models.lean_steps import MOST_TOKENS
from covspec_core.pair.evaluate import cases
from covspec_core.pair.requests import request_of

FOLDERS = ("draft", "target")
ATOL = 1e-4


@pytest.fixture(scope="module", params=FOLDERS)
def both(request):
    """The same checkpoint under both decoders, and a prompt."""
    folder = f"assets/pair/{request.param}"
    lean, library = (HFModel(folder, decoder=name) for name in ("lean", "library"))
    asked = request_of(next(iter(cases("test", 1))), 0)
    return lean, library, lean.prompt(asked.image, asked.question)


def same(one, other):
    np.testing.assert_allclose(one.logits, other.logits, atol=ATOL)
    np.testing.assert_allclose(one.hidden, other.hidden, atol=ATOL)


def contexts_of(both, kept=None):
    lean, library, prompt = both
    (one, first), (other, told) = lean.prefill(prompt, kept), library.prefill(prompt, kept)
    same(first, told)
    return one, other


def ids_of(rng, both, *shape):
    return rng.integers(10, both[0].vocab_size, shape)


@pytest.mark.parametrize("kept", [None, [], [0, 7, 143]])
@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_steps_gives_the_librarys_outputs(both, kept, seed):
    rng = np.random.default_rng(seed)
    pair = contexts_of(both, None if kept is None else np.array(kept, dtype=np.int64))
    for _ in range(25):
        step = rng.choice(["extend", "rollback", "branch"])
        if step == "extend":
            ids = ids_of(rng, both, int(rng.choice([1, 2, 5, BLOCK_TOKENS + 3])))
            same(*(context.extend(ids) for context in pair))
        elif step == "rollback":
            left = int(rng.integers(pair[0].n_tokens + 1))
            for context in pair:
                context.rollback(left)
        else:
            pair = branched(rng, both, pair)
        assert pair[0].n_tokens == pair[1].n_tokens
        if pair[0].n_tokens > 150:
            for context in pair:
                context.rollback(3)


def branched(rng, both, pair):
    """Both contexts forked, extended, perhaps rolled back, and one branch of each."""
    branches = int(rng.integers(1, 5))
    forks = [context.fork(branches) for context in pair]
    for new in rng.integers(1, 4, size=rng.integers(1, 10)):
        ids = ids_of(rng, both, branches, int(new))
        same(*(fork.extend(ids) for fork in forks))
    left = max(0, pair[0].n_tokens + int(rng.integers(-3, 4)))
    for fork in forks:
        fork.rollback(min(left, fork.n_tokens))
    ids = ids_of(rng, both, branches, 1)
    same(*(fork.extend(ids) for fork in forks))
    chosen = int(rng.integers(branches))
    return [fork.select(chosen) for fork in forks]


def test_contexts_that_share_a_prefix_do_not_disturb_each_other(both):
    rng = np.random.default_rng(0)
    trunks = contexts_of(both)
    for context, ids in zip(trunks, [ids_of(rng, both, 4)] * 2, strict=True):
        context.extend(ids)
    forks = [context.fork(3) for context in trunks]
    ids = ids_of(rng, both, 3, 2)
    same(*(fork.extend(ids) for fork in forks))
    chosen = [[fork.select(branch) for branch in range(3)] for fork in forks]
    everyone = [*zip(trunks, strict=True)], [*zip(*chosen, strict=True)]
    families = [tuple(trunks), *everyone[1], tuple(forks)]
    for _ in range(40):
        family = families[int(rng.integers(len(families)))]
        if rng.random() < 0.4:
            left = int(rng.integers(family[0].n_tokens + 1))
            for context in family:
                context.rollback(left)
        shape = (3, 1) if family[0] is forks[0] else (2,)
        ids = ids_of(rng, both, *shape)
        same(*(context.extend(ids) for context in family))


def test_a_context_that_is_alone_never_copies_its_cache(both):
    one, _ = contexts_of(both)
    one.extend(np.array([20, 21]))
    cells = one.store.cells.data_ptr()
    for _ in range(5):
        fork = one.fork(4)
        fork.extend(np.full((4, 1), 20))
        one = fork.select(2)
        del fork
        one.extend(np.array([20]))
        one.rollback(2)
    assert one.store.cells.data_ptr() == cells


def test_branches_own_no_copy_of_the_prefix(both):
    one, _ = contexts_of(both)
    fork = one.fork(8)
    fork.extend(np.full((8, 1), 20))
    assert fork.store.cells.data_ptr() == one.store.cells.data_ptr()


def test_a_cache_grows_to_the_last_position_and_no_further(both):
    one, other = contexts_of(both)
    room = both[0].max_tokens - len(both[2].ids)
    ids = np.full(room, 20)
    same(one.extend(ids), other.extend(ids))
    for context in (one, other, one.fork(2), other.fork(2)):
        with pytest.raises(ModelFailure, match=f"must fit the {both[0].max_tokens} positions"):
            context.extend(np.full((2, 1) if context not in (one, other) else 1, 20))


def test_the_librarys_own_forward_is_left_as_it_was(both):
    lean, library, prompt = both
    np.testing.assert_array_equal(
        lean.visual_states(prompt).relevance, library.visual_states(prompt).relevance
    )


def test_fused_weights_are_the_librarys_not_copies(both):
    language = both[0]._net.model.language_model
    fused = both[0]._lean.layers[0].qkv
    assert language.layers[0].self_attn.q_proj.weight.data_ptr() == fused.data_ptr()


def random_decoder(**changes):
    values = {
        "vocab_size": 50, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
        "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128,
        "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    return Qwen2Model(Qwen2Config(**(values | changes))).eval()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("keys", [1, 2, 3, 6])
def test_any_grouping_of_heads_is_read_alike(keys, compiled):
    library = random_decoder(num_key_value_heads=keys)
    lean = LeanDecoder(library, library.embed_tokens.weight, "random")
    assert lean.steps is not None
    if not compiled:
        lean.steps = None
    ids = torch.randint(1, 50, (20,))
    with torch.inference_mode():
        told = library(input_ids=ids[None]).last_hidden_state[0].numpy()
    context, first = prefill(lean, lean.embed(ids[:9].numpy()), torch.arange(9), 9)
    rest = [context.extend(ids[9:10].numpy()), context.extend(ids[10:].numpy())]
    hidden = np.concatenate([first.hidden[None], *(part.hidden for part in rest)])
    np.testing.assert_allclose(hidden, told[8:], atol=ATOL)


def test_long_steps_and_short_ones_say_the_same(both):
    rng, (context, _) = np.random.default_rng(5), contexts_of(both)
    ids = ids_of(rng, both, MOST_TOKENS + 1)
    whole = context.extend(ids)
    for size in (1, 2, 4, 7, MOST_TOKENS):
        context.rollback(0)
        parts = [context.extend(ids[at : at + size]) for at in range(0, len(ids), size)]
        for told, said in zip(whole, zip(*parts, strict=True), strict=True):
            np.testing.assert_allclose(np.concatenate(said), told, atol=ATOL)


def test_only_small_float32_weights_are_stepped_through_compiled(monkeypatch):
    def steps(library):
        return LeanDecoder(library, library.embed_tokens.weight, "random").steps

    assert steps(random_decoder()) is not None
    assert steps(random_decoder().bfloat16()) is None
    monkeypatch.setattr(lean_steps, "MOST_WEIGHTS", 2 * 64 * 48 - 1)
    assert steps(random_decoder()) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "model type"),
        ({"hidden_act": "gelu"}, "activation"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rotary type"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "attend fully"),
    ],
)
def test_what_the_lean_decoder_does_not_know_it_names(changes, message):
    values = {
        "model_type": "qwen2", "hidden_act": "silu", "layer_types": ["full_attention"],
        "rope_parameters": {"rope_type": "default"},
    }  # fmt: skip
    assert unsupported(asked(**values)) is None
    assert message in unsupported(asked(**(values | changes)))


def asked(**config):
    weights = [torch.zeros(1)]
    return SimpleNamespace(config=SimpleNamespace(**config), parameters=lambda: weights)


def test_weights_on_several_devices_are_left_to_the_library():
    library = random_decoder()
    library.layers[1].to("meta")
    assert "one device" in unsupported(library)


def test_a_model_without_numbers_is_named():
    library = random_decoder()
    lean = LeanDecoder(library, library.embed_tokens.weight, "random")
    context, _ = prefill(lean, lean.embed(np.arange(1, 9)), torch.arange(8), 8)
    lean.norm.fill_(np.nan)
    for extend in (lambda: context.extend(np.array([3])), lambda: prefill(
        lean, lean.embed(np.arange(1, 9)), torch.arange(8), 8
    )):  # fmt: skip
        with pytest.raises(ModelFailure, match="random gave NaN or infinite logits"):
            extend()
    fork = context.fork(2)
    with pytest.raises(ModelFailure, match="answer token 2"):
        fork.extend(np.array([[3], [4]]))
    assert context.n_tokens == fork.n_tokens == 0


def exhausted(*arguments):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("part", ["empty", "_attend"])
def test_branches_without_memory_leave_their_trunk_as_it_was(both, monkeypatch, part):
    one, _ = contexts_of(both)
    before = one.extend(np.array([20, 21])).logits
    with monkeypatch.context() as patch:
        owner = lean_context if part == "empty" else lean_context.BranchContext
        patch.setattr(owner, part, exhausted)
        with pytest.raises(OutOfMemory, match="ran out of memory at"):
            one.fork(8).extend(np.full((8, 1), 20))
    one.rollback(0)
    np.testing.assert_array_equal(one.extend(np.array([20, 21])).logits, before)


def test_an_unknown_decoder_is_refused():
    with pytest.raises(InvalidSetting, match="decoder must be one of"):
        HFModel("assets/pair/draft", decoder="fast")
