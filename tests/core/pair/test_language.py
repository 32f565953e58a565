"""Questions, answers and their grading: what is said can be read back and checked."""

from __future__ import annotations

import random

import pytest

from covspec_core.pair.claims import Claim, read_all
from covspec_core.pair.grading import is_right
from covspec_core.pair.questions import KINDS, WEIGHTS, ask, questions
from covspec_core.pair.world import (
    COLOURS,
    PATTERNS,
    SHAPES,
    SIZES,
    SPLITS,
    TONES,
    Scene,
    Thing,
    draw_scene,
)


def asked(split: str = "test", scenes: int = 60):
    """Scene, question and one wording of its answer, of every kind."""
    rng = random.Random(split)
    for index in range(scenes):
        scene = draw_scene(split, index)
        for kind in KINDS:
            question = ask(scene, kind, rng)
            if question is not None:
                yield scene, question, question.say_answer(rng)


@pytest.mark.parametrize("split", SPLITS)
def test_the_answer_of_the_world_is_right(split):
    for scene, question, answer in asked(split):
        assert is_right(scene, question, answer), (question.text, answer)


def usual(claim: Claim) -> Claim:
    """A list of one thing and the sentence about one thing say the same."""
    if claim.name == "listing" and len(claim.slots["items"]) == 1:
        ((phrase, cell),) = claim.slots["items"]
        return Claim("located", {"a": phrase, "place": cell})
    return claim


def test_what_is_said_is_read_back():
    for _, question, answer in asked():
        claims = read_all(answer)
        assert claims is not None
        assert [usual(claim) for claim in claims] == [usual(claim) for claim in question.answer], (
            answer
        )


def other(word: str) -> str | None:
    """A word of the same kind with another meaning."""
    for words in (
        SHAPES,
        COLOURS,
        SIZES,
        TONES,
        PATTERNS,
        ("above", "below"),
        ("two", "three", "four", "five", "six"),
    ):
        if word in words:
            return words[(words.index(word) + 1) % len(words)]
    return None


def test_one_wrong_word_makes_an_answer_wrong():
    for scene, question, answer in asked(scenes=25):
        words = answer.split()
        for position, word in enumerate(words):
            if other(word) is None or (
                question.kind == "where" and question.answer[-1].name == "missing"
            ):
                continue
            wrong = " ".join([*words[:position], str(other(word)), *words[position + 1 :]])
            assert not is_right(scene, question, wrong), (question.text, answer, wrong)


def test_a_description_that_forgets_a_thing_is_wrong():
    for scene, question, answer in asked():
        sentences = answer.split(" . ")
        if question.kind == "describe" and " , " not in answer and len(sentences) > 3:
            located = next(k for k, claim in enumerate(question.answer) if claim.name == "located")
            assert not is_right(
                scene, question, " . ".join(sentences[:located] + sentences[located + 1 :])
            )


def test_the_answer_to_another_question_is_wrong():
    by_kind = {}
    for scene, question, answer in asked(scenes=1):
        by_kind[question.kind] = (scene, question, answer)
    scene, _, background = by_kind["background"]
    for kind in by_kind.keys() - {"background"}:
        assert not is_right(scene, by_kind[kind][1], background)


@pytest.mark.parametrize(
    "answer", ["", ".", "the the the", "there is a car in the centre .", "yes"]
)
def test_text_outside_the_language_is_wrong(answer):
    scene, question, _ = next(asked())
    assert not is_right(scene, question, answer)


def test_grading_ignores_case_and_spaces_before_punctuation():
    for scene, question, answer in asked(scenes=10):
        assert is_right(scene, question, answer.upper().replace(" .", ".").replace(" ,", ","))


def test_answers_are_10_to_150_tokens_long_in_the_main_and_vary():
    lengths = {kind: [] for kind in KINDS}
    answers = set()
    for _, question, answer in asked(scenes=400):
        lengths[question.kind].append(len(answer.split()))
        answers.add(answer)
    assert max(map(max, lengths.values())) <= 150
    assert all(sum(lengths[kind]) / len(lengths[kind]) >= 7 for kind in KINDS)
    assert len(answers) > 2000


def test_every_kind_has_a_weight_and_comes_up():
    rng = random.Random(0)
    drawn = {
        question.kind
        for index in range(60)
        for question, _ in zip(questions(draw_scene("train", index), rng), range(8), strict=False)
    }
    assert drawn == set(KINDS) == set(WEIGHTS)


def test_nearest_and_beside_follow_the_pixels():
    def thing(colour: str, cell: int, x_px: float, y_px: float) -> Thing:
        return Thing("circle", colour, "small", cell, x_px, y_px, 5.0)

    scene = Scene(
        (thing("red", 0, 16, 16), thing("blue", 1, 40, 18), thing("green", 5, 80, 48)),
        "plain",
        "grey",
    )
    rng = random.Random(0)
    seen = set()
    for _ in range(200):
        question = ask(scene, "nearest", rng)
        if question is not None:
            seen.add((question.text.split()[-2], question.answer[1].slots["the"].colour))
    assert {pair for pair in seen if pair[0] in ("red", "green")} == {
        ("red", "blue"),
        ("green", "blue"),
    }
