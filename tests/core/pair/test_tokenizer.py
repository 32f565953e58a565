"""The vocabulary both models share."""

from __future__ import annotations

import random

import pytest

from covspec_core.pair.questions import KINDS, ask
from covspec_core.pair.tokenizer import SPECIAL, build_tokenizer, vocabulary
from covspec_core.pair.wordings import ASKED
from covspec_core.pair.world import SPLITS, draw_scene


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def texts():
    rng = random.Random(0)
    for split in SPLITS:
        for index in range(40):
            scene = draw_scene(split, index)
            for kind in KINDS:
                question = ask(scene, kind, rng)
                if question is not None:
                    yield question.text
                    yield question.say_answer(rng)


def test_every_word_of_the_world_has_its_token(tokenizer):
    for text in texts():
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == [vocabulary()[word] for word in text.split()]
        assert tokenizer.unk_token_id not in ids


def test_text_survives_the_round_trip(tokenizer):
    for text in texts():
        usual = text.replace(" .", ".").replace(" ,", ",")
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == usual


@pytest.mark.parametrize(
    "text",
    [
        "How many large circles are there?",
        "HOW MANY  large circles are there",
        "how many 'large' circles are there!",
    ],
)
def test_case_and_punctuation_do_not_matter(tokenizer, text):
    plain = "how many large circles are there"
    assert tokenizer(text)["input_ids"] == tokenizer(plain)["input_ids"]


def test_words_outside_the_vocabulary_become_unknown(tokenizer):
    text = "Where is the turquoise spaceship?"
    assert tokenizer(text)["input_ids"].count(tokenizer.unk_token_id) == 2


def test_other_spellings_are_understood(tokenizer):
    assert tokenizer("center gray")["input_ids"] == tokenizer("centre grey")["input_ids"]
    unknown = tokenizer.unk_token_id
    assert unknown not in tokenizer("What is in the center?")["input_ids"]


def test_describe_the_image_is_a_usual_question():
    assert "describe the image" in ASKED["describe"]


def test_the_prompt_is_the_one_both_models_are_trained_on(tokenizer):
    content = [{"type": "image"}, {"type": "text", "text": "What do you see?"}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    text = text.replace("<IMG_CONTEXT>", "<img>" + 3 * "<IMG_CONTEXT>" + "</img>")
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert tokens == [
        "<bos>",
        "<img>",
        *3 * ["<IMG_CONTEXT>"],
        "</img>",
        "what",
        "do",
        "you",
        "see",
        "<answer>",
    ]


def test_special_tokens_come_first_and_stay_where_they_are():
    assert list(vocabulary())[: len(SPECIAL)] == list(SPECIAL)
    assert list(vocabulary().values()) == list(range(len(vocabulary())))
