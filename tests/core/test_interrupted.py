"""Models that fail amid an answer: what was written is kept, what can go on goes on."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from covspec_core.engine import generate
from covspec_core.errors import InvalidRequest, ModelFailure, OutOfMemory
from covspec_core.models.context import within_memory
from covspec_core.models.hf import HFModel
from covspec_core.pair.evaluate import cases
from covspec_core.pair.render import render
from covspec_core.rounds import Actions, RoundAction
from tests.core.conftest import make_pair, make_requests, make_scenario
from tests.core.tiny import BUILDERS, save
from tests.core.toys import EOS, ToyContext, ToyModel

CASE = cases("test", 1)[0]
WIDTH = 4


class Always:
    """Blocks of four tokens, some branches."""

    def begin(self, size):
        pass

    def decide(self, status):
        return Actions.of([RoundAction(1.0, 4, WIDTH)])


class Narrow(ToyModel):
    """A toy whose memory holds a few branches only."""

    def __init__(self, most, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.most, self.asked = most, []

    def prefill(self, prompt, kept=None):
        context, first = super().prefill(prompt, kept)
        return NarrowContext(self, context.seen, context.texts), first


class NarrowContext(ToyContext):
    def fork(self, branches):
        self.model.asked.append(branches)
        if branches > self.model.most:
            raise OutOfMemory(f"toy ran out of memory at a cache of {branches} branches")
        forked = super().fork(branches)
        return NarrowContext(self.model, forked.seen, forked.texts)

    def select(self, branch):
        return NarrowContext(self.model, self.seen, [list(self.texts[branch])])


def narrow_pair(most, blur=0.2):
    pair = make_pair(blur)
    draft = Narrow(most, 6, seed=2, blur=blur, base=pair.target)
    return replace(pair, draft=draft)


def answer(pair, request, protocol="coupled", temperature=1.0, limit=40):
    scenario = make_scenario(protocol, branch_widths=(0, WIDTH))
    return generate(scenario, pair, request, Always(), temperature, limit, 1)


@pytest.mark.parametrize("protocol", ["coupled", "decoupled", "full"])
@pytest.mark.parametrize("most", [0, 1, 2])
def test_branches_that_do_not_fit_are_halved_and_the_text_stays(most, protocol):
    for request in make_requests(6):
        free = narrow_pair(WIDTH)
        whole = answer(free, request, protocol)
        if not free.draft.asked:
            continue
        tight = narrow_pair(most)
        said = re.escape(f"{WIDTH} branches; drafting ahead on {WIDTH // 2} branches instead")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert answer(tight, request, protocol).answer == whole.answer
        assert re.search(said, str(caught[0].message))
        # Once refused, no more are asked for within the request.
        assert tight.draft.asked == sorted(tight.draft.asked, reverse=True)
        assert tight.draft.asked.count(WIDTH) == 1


def test_the_next_request_tries_all_branches_again():
    pair = narrow_pair(1)
    for request in make_requests(6):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer(pair, request)
    assert pair.draft.asked.count(WIDTH) > 1


def test_enough_memory_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for request in make_requests(6):
            answer(narrow_pair(WIDTH), request)


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def model(request, tmp_path_factory):
    folder = save(request.param, tmp_path_factory.mktemp(request.param))
    return HFModel(folder, decoder="library")


@pytest.fixture(scope="module")
def prompt(model):
    return model.prompt(render(CASE.scene), CASE.question.text)


def exhausted(*args, **kwargs):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_fork_without_memory_leaves_the_context_as_it_was(model, prompt, monkeypatch):
    context, _ = model.prefill(prompt)
    before = context.extend(np.array([9, 10])).logits
    with monkeypatch.context() as patch:
        patch.setattr(type(context._cache), "batch_select_indices", exhausted)
        with pytest.raises(OutOfMemory, match=rf"{model.name} ran .* a cache of 8 branches"):
            context.fork(8)
    context.rollback(0)
    np.testing.assert_array_equal(context.extend(np.array([9, 10])).logits, before)


def test_branches_that_run_out_midway_leave_their_trunk_as_it_was(model, prompt, monkeypatch):
    """The first layers of the forked cache have grown when the memory ends."""
    context, _ = model.prefill(prompt)
    before = context.extend(np.array([9, 10])).logits
    branches = context.fork(3)
    with monkeypatch.context() as patch:
        patch.setattr(model._net.model.language_model.layers[-1].mlp, "forward", exhausted)
        with pytest.raises(OutOfMemory, match=r"ran out of memory at 3 x 1 tokens behind"):
            branches.extend(np.array([[9], [10], [11]]))
    context.rollback(0)
    np.testing.assert_array_equal(context.extend(np.array([9, 10])).logits, before)


def test_a_cpu_without_memory_is_told_from_other_faults():
    said = "it ran out of memory at a tensor"
    with pytest.raises(OutOfMemory, match=said), within_memory("it", "a tensor"):
        torch.empty(2**58)
    with pytest.raises(RuntimeError, match="shape"), within_memory("it", "a sum"):
        torch.zeros(2).reshape(3)


def test_logits_that_are_no_numbers_name_model_and_token(model, prompt, monkeypatch):
    context, _ = model.prefill(prompt)
    head, text = model._net.lm_head, np.array([[9, 10, 11], [12, 13, 14]])
    branches = context.fork(2)

    def broken(hidden):
        logits = type(head).forward(head, hidden)
        logits[1, 2, 5] = torch.nan
        return logits

    with monkeypatch.context() as patch:
        patch.setattr(head, "forward", broken)
        with pytest.raises(ModelFailure, match=rf"{model.name} gave NaN .* for answer token 4$"):
            branches.extend(text)
    with monkeypatch.context() as patch:
        patch.setattr(
            head, "forward", lambda hidden: torch.full((1, 1, model.vocab_size), torch.inf)
        )
        with pytest.raises(ModelFailure, match=r"for answer token 1$"):
            model.prefill(prompt)


def test_a_full_context_names_its_model(model, prompt):
    context, _ = model.prefill(prompt)
    room = model.max_tokens - len(prompt.ids)
    context.extend(np.full(room, 9))
    with pytest.raises(ModelFailure, match=rf"must fit the 256 positions of {model.name}, got 257"):
        context.extend(np.array([9]))
    assert context.n_tokens == room


class Breaks(ToyModel):
    """A toy that fails from some answer token on."""

    def __init__(self, last, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.last = last

    def logits(self, seen, text):
        if len(text) > self.last:
            raise ModelFailure("toy gave NaN or infinite logits for answer token 9")
        return super().logits(seen, text)


@pytest.mark.parametrize("side", ["draft", "target"])
@pytest.mark.parametrize("last", [0, 3, 7, 8])
def test_a_model_that_fails_keeps_what_was_written(side, last):
    whole = make_pair(0.2)
    request = next(r for r in make_requests(26) if answer(whole, r).tokens > 20)
    text = [int(word) for word in answer(whole, request).answer.split()]
    one = Breaks(last, 6, seed=whole.target.seed)
    other = Breaks(last, 6, seed=2, blur=0.2, base=whole.target)
    pair = replace(whole, **{"target": one} if side == "target" else {"draft": other})
    with pytest.raises(ModelFailure, match="toy gave NaN") as caught:
        answer(pair, request)
    kept = list(caught.value.tokens)
    assert kept == text[: len(kept)]
    assert last - 8 < len(kept) <= last + 2  # a round commits a block and its bonus
    assert EOS not in kept


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("", "a question must hold at least one word, got ''"),
        ("  \n\t ", "at least one word"),
        ("?!", "at least one word"),
        ("circle " * 300, "must fit 256 positions, the question alone has 300"),
        ("circle " * 230, "a prompt must fit 256 positions, got 2[67][0-9]"),
        ("where is the <IMG_CONTEXT> circle", "must not hold the image placeholder"),
        ("where is the zebra", "outside the model's vocabulary: zebra"),
    ],
)
def test_questions_of_which_no_prompt_can_be_made_are_refused(model, question, said):
    with pytest.raises(InvalidRequest, match=said):
        model.prompt(render(CASE.scene), question)
