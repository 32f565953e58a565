"""Pairs of any architectures through the whole engine, on small models with random weights."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from covspec_core.blocks import Sampler
from covspec_core.edge import Edge
from covspec_core.engine import generate
from covspec_core.errors import InvalidRequest, InvalidSetting
from covspec_core.images import make_request
from covspec_core.models.hf import HFModel
from covspec_core.pair.evaluate import cases
from covspec_core.pair.render import render
from covspec_core.pair.tokenizer import build_tokenizer
from covspec_core.pairs import load_pair
from covspec_core.rounds import Actions, RoundAction
from covspec_core.wire import PROTOCOLS
from tests.core.conftest import make_scenario
from tests.core.tiny import BUILDERS, save

ARCHITECTURES = sorted(BUILDERS)
MIXED = [(a, b) for a, b in product(ARCHITECTURES, repeat=2) if a != b]
LIMIT = 24
CASE = cases("test", 1)[0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A draft and a target of every architecture, with unlike weights and one tokenizer."""
    place = tmp_path_factory.mktemp("models")
    return {
        (architecture, role): save(architecture, place / f"{architecture}-{role}", seed)
        for architecture in ARCHITECTURES
        for seed, role in enumerate(("target", "draft"))
    }


@pytest.fixture(scope="module")
def request_of_a_scene():
    return make_request(render(CASE.scene).resize((96, 64)), CASE.question.text, 5)


class Wanders:
    """Random lengths and widths, one keep."""

    def __init__(self, keep, seed):
        self._keep, self._rng = keep, np.random.default_rng(seed)

    def begin(self, size):
        pass

    def decide(self, status):
        length = int(self._rng.choice([0, 1, 3, 5], p=[0.1, 0.3, 0.3, 0.3]))
        return Actions.of([RoundAction(self._keep, length, int(self._rng.choice([0, 2, 4])))])


class Always(Wanders):
    def decide(self, status):
        return Actions.of([RoundAction(self._keep, 4, 4)])


SCENARIO = {"keep_levels": (0.0, 0.25, 1.0), "branch_widths": (0, 2, 4)}


def answer(pair, request, controller, protocol="coupled", temperature=1.0, limit=LIMIT):
    scenario = make_scenario(protocol, **SCENARIO)
    return generate(scenario, pair, request, controller, temperature, limit, 1)


def own_text(model, request, temperature=1.0):
    """What the target writes alone under the request's noise."""
    edge = Edge(model, PROTOCOLS["coupled"])
    prompt = model.prompt(request.image, request.question)
    edge.start(prompt, Sampler(request.key, temperature, shared=True))
    return model.decode(np.array(edge.decode([], LIMIT)))


def check_text(folders, draft, target, request, temperature):
    pair = load_pair(folders[draft, "draft"], folders[target, "target"], "covspec", None)
    alone = own_text(pair.target, request, temperature)
    for seed, keep in enumerate(SCENARIO["keep_levels"]):
        written = answer(pair, request, Wanders(keep, seed), temperature=temperature)
        assert written.answer == alone
    return written


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_text_is_the_targets_own(folders, architecture, request_of_a_scene, temperature):
    check_text(folders, architecture, architecture, request_of_a_scene, temperature)


@pytest.mark.parametrize(("draft", "target"), MIXED)
def test_draft_and_target_may_differ_in_architecture(folders, draft, target, request_of_a_scene):
    check_text(folders, draft, target, request_of_a_scene, 1.0)


@pytest.mark.parametrize("protocol", ["coupled", "decoupled"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_draft_that_is_its_target_sees_the_image_and_is_never_refused(
    folders, architecture, request_of_a_scene, protocol
):
    same = folders[architecture, "target"]
    pair = load_pair(same, same, "covspec", None)
    whole = answer(pair, request_of_a_scene, Always(1.0, 0), protocol)
    # Blocks of four and a bonus, but for the last: nothing was refused.
    assert whole.rounds == -(-whole.tokens // 5)
    blind = answer(pair, request_of_a_scene, Always(0.0, 0), protocol)
    assert blind.accepted / blind.tokens < whole.accepted / whole.tokens


def reordered(tokenizer, words):
    """The same tokens, two of them with each other's id."""
    text = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = text["model"]["vocab"]
    one, other = words
    vocab[one], vocab[other] = vocab[other], vocab[one]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(text))
    return tokenizer


def test_equal_sizes_with_other_ids_are_refused(folders, tmp_path):
    other = save("llava", tmp_path, tokenizer=reordered(build_tokenizer(), ("circle", "square")))
    said = r"share one vocabulary, 2 tokens differ: 'circle' is (\d+) in .* and is (?!\1)\d+ in "
    with pytest.raises(InvalidSetting, match=said):
        load_pair(other, folders["llava", "target"], "covspec", None)


def test_other_sizes_are_refused_by_the_token_that_is_missing(folders, tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["quasar"])
    other = save("llava", tmp_path, tokenizer=tokenizer)  # its head has a spare row
    said = "1 tokens differ: 'quasar' is unknown in .* and is [0-9]+ in "
    with pytest.raises(InvalidSetting, match=said):
        load_pair(folders["llava", "draft"], other, "covspec", None)


def test_padding_of_a_head_does_not_matter(folders):
    pair = load_pair(folders["internvl", "draft"], folders["llava", "target"], "none", None)
    rows = [model._net.lm_head.out_features for model in (pair.draft, pair.target)]
    assert rows[0] < rows[1]
    assert pair.draft.vocab_size == pair.target.vocab_size == rows[0]


def test_an_answer_without_room_is_refused_before_anything_is_drafted(folders, request_of_a_scene):
    same = folders["llava", "target"]
    pair = load_pair(same, same, "none", None)
    prompt = pair.target.prompt(request_of_a_scene.image, request_of_a_scene.question)
    room = pair.target.max_tokens - len(prompt.ids)
    with pytest.raises(InvalidRequest, match=f"up to {room + 1} must fit the 256 positions"):
        answer(pair, request_of_a_scene, Always(1.0, 0), limit=room + 1)


def test_an_answer_up_to_the_last_position_is_written(folders, request_of_a_scene):
    """Whole blocks and branches reach the very end of the context and not beyond."""
    same = folders["llava", "target"]
    pair = load_pair(same, same, "none", None)
    for model in (pair.draft, pair.target):
        model._net.generation_config.eos_token_id = -1  # no answer ends by itself
    prompt = pair.target.prompt(request_of_a_scene.image, request_of_a_scene.question)
    room = pair.target.max_tokens - len(prompt.ids)
    for seed in range(3):
        assert answer(pair, request_of_a_scene, Wanders(1.0, seed), limit=room).tokens == room


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "auto"])
def test_every_dtype_decodes(folders, architecture, request_of_a_scene, dtype):
    names = folders[architecture, "draft"], folders[architecture, "target"]
    pair = load_pair(*names, "visionzip", None, "cpu", dtype)
    assert pair.draft._net.dtype == getattr(torch, dtype, torch.float32)
    written = answer(pair, request_of_a_scene, Wanders(0.25, 0))
    assert written.tokens == LIMIT or written.answer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_gpu_says_what_the_cpu_says(folders, architecture, request_of_a_scene):
    here, there = (
        HFModel(folders[architecture, "draft"], device=device, reads_encoder=True)
        for device in ("cpu", "cuda")
    )
    states, logits = [], []
    for model in (here, there):
        prompt = model.prompt(request_of_a_scene.image, request_of_a_scene.question)
        states.append(model.visual_states(prompt))
        context, first = model.prefill(prompt, np.arange(0, len(prompt.visual), 2))
        branches = context.fork(2)
        branches.extend(np.array([[9], [10]]))
        one = branches.select(1)
        one.rollback(0)
        logits.append([first.logits, one.extend(np.array([11, 12])).logits[-1]])
    np.testing.assert_allclose(*logits, atol=1e-3)
    np.testing.assert_allclose(*(s.relevance for s in states), atol=1e-4)
    names = folders[architecture, "draft"], folders[architecture, "target"]
    pair = load_pair(*names, "visionzip", None, "cuda", "bfloat16")
    assert answer(pair, request_of_a_scene, Wanders(0.25, 0)).tokens > 0


@pytest.mark.parametrize(
    ("device", "dtype", "said"),
    [
        ("cpu", "float13", r"dtype must be one of .*'float13'"),
        ("cpu", "int8", r"dtype must be one of .*'int8'"),
        ("abacus", "float32", "torch can use here, got 'abacus'"),
        pytest.param("cuda", "float32", "torch can use here, got 'cuda'",
                     marks=pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")),
    ],
)  # fmt: skip
def test_devices_and_dtypes_that_are_not_there_are_named(folders, device, dtype, said):
    with pytest.raises(InvalidSetting, match=said):
        HFModel(folders["llava", "draft"], device=device, dtype=dtype)
