"""One word, one token: the vocabulary both models of the pair share."""

from __future__ import annotations

import re
from typing import Any, Final

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordLevel

from covspec_core.pair import words
from covspec_core.pair.claims import SENTENCES
from covspec_core.pair.wordings import ASKED

SPECIAL: Final = (
    "<pad>",
    "<unk>",
    "<bos>",
    "<eos>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<answer>",
)
SPELLINGS: Final = {
    "center": "centre",
    "gray": "grey",
    "upper-left": "upper left",
    "upper-right": "upper right",
}
TABLES: Final = (
    words.SIZE_WORDS, words.COLOUR_WORDS, words.SHAPE_WORDS, words.TONE_WORDS, words.PATTERN_WORDS,
    words.NUMBER_WORDS, words.PLACE_WORDS, words.LINE_WORDS, words.SIDE_WORDS,
)  # fmt: skip
CHAT_TEMPLATE: Final = (
    "<bos>{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<answer>{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}<eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<answer>{% endif %}"
)
_DROPPED: Final = r"""[\s?!:;"'()\-]+"""


def vocabulary() -> dict[str, int]:
    """Token to id: special tokens, then punctuation and all words in alphabetical order."""
    tokens = [*SPECIAL, ",", ".", *sorted(_world_words())]
    return {token: index for index, token in enumerate(tokens)}


def _world_words() -> set[str]:
    texts: list[str] = ["a an the of and"]
    for table in TABLES:
        texts += [phrase for phrases in table.values() for phrase in phrases]
    shapes = [*words.SHAPE_WORDS, *words.ANY_SHAPE]
    texts += [*shapes, *map(words.plural, shapes), "with badge"]
    templates = [*SENTENCES.values(), *ASKED.values()]
    texts += [re.sub(r"{\w*}", "", text) for sentences in templates for text in sentences]
    return set(re.findall(r"[a-z]+", " ".join(texts)))


def build_tokenizer() -> Any:
    """A ``PreTrainedTokenizerFast``: lower case; drops punctuation but comma and full stop."""
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(WordLevel(vocabulary(), unk_token="<unk>"))
    spellings = [normalizers.Replace(other, usual) for other, usual in SPELLINGS.items()]
    core.normalizer = normalizers.Sequence([normalizers.Lowercase(), *spellings])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_DROPPED), "removed"),
            pre_tokenizers.Split(Regex("[.,]"), "isolated"),
        ]
    )
    core.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=list(SPECIAL[4:]),
        model_max_length=512,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
