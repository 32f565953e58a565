"""From a question to a prompt's token ids, and which of them are its content words."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from covspec_core.errors import InvalidRequest, InvalidSetting
from covspec_core.models.protocol import Ids

_STOP = (
    "a an and any are at be by can do does for from has have how i in is it its many me near of "
    "on or please see that the them there these they this those to what where which with you"
)
STOP_WORDS: Final = frozenset(_STOP.split())
"""Words of a question that are no keywords."""


class Wording:
    """Chat template and tokenizer of one checkpoint.

    Args:
        tokenizer: Of the checkpoint.
        placeholder: Id of the token that stands for a visual token.
        wrap: Text to put around the placeholders.
        alias: What the chat template may write instead of the placeholder.
    """

    def __init__(
        self, tokenizer: Any, placeholder: int, wrap: tuple[str, str], alias: str | None
    ) -> None:
        self._tokenizer, self._wrap, self._alias = tokenizer, wrap, alias
        self._placeholder = placeholder
        self._token: str = tokenizer.convert_ids_to_tokens(placeholder)

    def check(self, question: str, most: int) -> None:
        """Refuse a question that no prompt can be made of.

        Args:
            question: Text.
            most: Positions that the whole prompt has.

        Raises:
            InvalidRequest: If it is empty or too long, has unknown words or a placeholder.
        """
        ids = self._tokenizer(question, add_special_tokens=False)["input_ids"]
        if not re.search(r"\w", question) or not ids:
            raise InvalidRequest(f"a question must hold at least one word, got {question!r}")
        if len(ids) >= most:
            raise InvalidRequest(
                f"a prompt must fit {most} positions, the question alone has {len(ids)}"
            )
        if self._placeholder in ids:
            raise InvalidRequest(f"a question must not hold the image placeholder {self._token!r}")
        unknown = self._tokenizer.unk_token_id
        if unknown is not None and unknown in ids:
            strange = ", ".join(self._unknown_words(question))
            raise InvalidRequest(f"words outside the model's vocabulary: {strange}")

    def _unknown_words(self, question: str) -> list[str]:
        tokens = self._tokenizer.backend_tokenizer
        if tokens.pre_tokenizer is None:
            return [question]
        words = [word for word, _ in tokens.pre_tokenizer.pre_tokenize_str(question.lower())]
        return [word for word in words if tokens.token_to_id(word) is None]

    def prompt(self, question: str, n_visual: int) -> tuple[Ids, Ids]:
        """Token ids with every placeholder in place, and the positions of the content words.

        Raises:
            InvalidSetting: If the chat template leaves the image or the question out.
        """
        question = question.strip()
        text = self._text(question)
        start = text.rfind(question)
        # Templates either write the token that begins a text or leave it to the tokenizer.
        begun = text.startswith(self._tokenizer.bos_token or "\0")
        encoded = self._tokenizer(text, add_special_tokens=not begun, return_offsets_mapping=True)
        ids = np.asarray(encoded["input_ids"], dtype=np.int64)
        if start < 0 or (ids == self._placeholder).sum() != 1:
            raise InvalidSetting(
                "a chat template must hold the image's placeholder "
                f"{self._token!r} once and the question as it is, got {text!r}"
            )
        spans = np.asarray(encoded["offset_mapping"])
        words = list(re.finditer(r"\w+", question))
        content = [word for word in words if word[0].lower() not in STOP_WORDS]
        places = [(start + word.start(), start + word.end()) for word in content or words]
        # One placeholder is encoded, not hundreds: each is a token of its own anyway.
        at, keywords = int((ids == self._placeholder).argmax()), _touching(spans, places)
        ids = np.insert(ids, at, np.full(n_visual - 1, self._placeholder))
        return ids, np.where(keywords > at, keywords + n_visual - 1, keywords)

    def _text(self, question: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text: str = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        left, right = self._wrap
        written = self._token
        if self._alias is not None and self._token not in text:
            written = self._alias
        return text.replace(written, f"{left}{self._token}{right}", 1)


def _touching(spans: Ids, words: list[tuple[int, int]]) -> Ids:
    """Tokens that hold a part of any of the words.

    Args:
        spans: First character of each token and the one behind its last, ``[tokens, 2]``.
        words: Likewise for every word.
    """
    first, end = spans.T
    held = [(first < stop) & (end > start) for start, stop in words]
    return np.flatnonzero(np.any(held, axis=0)).astype(np.int64)
