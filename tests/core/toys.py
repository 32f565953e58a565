"""Toy models for engine tests: laws from a hash of the text, so that everything is checkable."""

from __future__ import annotations

import numpy as np

from covspec_core.models.protocol import Outputs, Prompt
from covspec_core.randomness import mix
from covspec_core.reduction import VisualStates

EOS = 0


class ToyContext:
    """Texts instead of a cache; ``extend`` recomputes what a real cache would know."""

    def __init__(self, model, seen, texts):
        self.model, self.seen, self.texts = model, seen, texts

    @property
    def n_tokens(self):
        return len(self.texts[0])

    def extend(self, ids):
        rows = np.atleast_2d(ids)
        logits = np.empty((*rows.shape, self.model.vocab_size), dtype=np.float32)
        for text, row, out in zip(self.texts, rows, logits, strict=True):
            for i, token in enumerate(row):
                text.append(int(token))
                out[i] = self.model.logits(self.seen, text)
        outputs = Outputs(logits, logits)
        return outputs if ids.ndim == 2 else outputs.at(0)

    def rollback(self, n_tokens):
        assert n_tokens <= self.n_tokens
        for text in self.texts:
            del text[n_tokens:]

    def fork(self, branches):
        return ToyContext(self.model, self.seen, [list(self.texts[0]) for _ in range(branches)])

    def select(self, branch):
        return ToyContext(self.model, self.seen, [list(self.texts[branch])])


class ToyModel:
    """Logits drawn from a hash of question, kept tokens and the last ``memory`` tokens."""

    n_visual = 12
    max_tokens = 512
    eos_ids = frozenset({EOS})

    def __init__(self, vocab_size=6, seed=0, blur=0.0, base=None, memory=3, eos_bias=-2.5):
        self.vocab_size, self.seed, self.blur, self.base = vocab_size, seed, blur, base
        self.memory, self.eos_bias = memory, eos_bias

    @property
    def hidden_size(self):
        return self.vocab_size

    def prompt(self, image, question):
        ids = np.array([*range(self.n_visual), *map(ord, question)], dtype=np.int64)
        return Prompt(ids, np.arange(self.n_visual), np.array([self.n_visual]), question)

    def prefill(self, prompt, kept=None):
        seen = (prompt.features, self.n_visual if kept is None else len(kept))
        logits = self.logits(seen, [])
        return ToyContext(self, seen, [[]]), Outputs(logits, logits)

    def logits(self, seen, text):
        question, kept = seen
        tail = [len(text), *text[-self.memory :]]
        key = int(mix(self.seed, *map(ord, question[:2]), *tail))
        own = np.random.default_rng(key).normal(0, 2, self.vocab_size)
        own[EOS] += self.eos_bias
        if self.base is None:
            return own.astype(np.float32)
        # A draft is its target, blurred; the more so the fewer visual tokens it sees.
        blur = self.blur * (1.5 - kept / self.n_visual)
        return ((1 - blur) * self.base.logits(seen, text) + blur * own).astype(np.float32)

    def visual_states(self, prompt):
        rng = np.random.default_rng(len(prompt.ids))
        early, deep = rng.normal(size=(2, self.n_visual, 4))
        return VisualStates(rng.dirichlet(np.ones(self.n_visual)), early, deep)

    def decode(self, ids):
        return " ".join(map(str, ids))
