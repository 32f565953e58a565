"""Reductions compared on the drawn world, with small models of random weights."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.models.small import N_VISUAL, WIDTHS, build_model
from covspec_core.pair import evaluate
from covspec_core.pair.evaluate import accepted_mass, answer, cases
from covspec_core.pair.folders import export, load
from covspec_core.pair.measure import _orders
from covspec_core.pair.reductions import SPLITS, Compared, compare
from covspec_core.pair.tokenizer import vocabulary
from tests.core.drawn_pair import export_pair

QUESTIONS = 3
NAMES = ("covspec", "random", "verifier_guided")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def compared(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "MAX_ANSWER", 8)
        return run(folder)


def run(folder, names=NAMES, keeps=(12,), questions=QUESTIONS, splits=("test", "rare")) -> Compared:
    return compare(folder / "draft", folder / "target", names, keeps, questions, 5, splits)


def test_every_split_reduction_and_keep_is_measured_question_by_question(compared):
    assert compared.keeps == (0, 12, N_VISUAL)
    points = {(s, n, k) for s in ("test", "rare") for n in NAMES for k in compared.keeps}
    assert set(compared.accepted) == set(compared.right) == points
    for split, _, _ in points:
        assert compared.positions[split].shape == (QUESTIONS,)
    for point in points:
        accepted, right = compared.accepted[point], compared.right[point]
        assert (accepted > 0).all()
        assert (accepted <= compared.positions[point[0]] + 1e-6).all()
        assert set(right) <= {0.0, 1.0}
        assert len(right) == QUESTIONS


def test_nothing_and_everything_are_the_same_for_all(compared):
    for name in NAMES:
        for keep in (0, N_VISUAL):
            expected = compared.accepted["test", "covspec", keep]
            np.testing.assert_array_equal(compared.accepted["test", name, keep], expected)


def test_the_mean_is_the_one_of_the_model_card(folder, compared, monkeypatch):
    monkeypatch.setattr(evaluate, "MAX_ANSWER", 8)
    asked = cases("test", QUESTIONS, 5)
    target, draft = load(folder / "target"), load(folder / "draft")
    answers = answer(target, asked, temperature=1.0, seed=5)
    kept = _orders(folder / "draft", asked, 5)["covspec"][:, :12].sort(dim=1).values
    expected = float(accepted_mass(target, draft, asked, answers, kept).mean())
    sums, counts = compared.accepted["test", "covspec", 12], compared.positions["test"]
    assert sums.sum() / counts.sum() == pytest.approx(expected, rel=1e-5)


def test_equal_seeds_find_the_same(folder, compared, monkeypatch):
    monkeypatch.setattr(evaluate, "MAX_ANSWER", 8)
    again = run(folder, splits=("rare",))
    for point, accepted in again.accepted.items():
        np.testing.assert_array_equal(accepted, compared.accepted[point])


def test_every_set_of_the_model_card_is_a_split():
    assert SPLITS == ("test", "combinations", "rare", "subtle", "crowded")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": ("best",)}, "reduction must be one of .*'best'"),
        ({"names": ("relevance+colour",)}, r"reduction joins .*got \['colour'\]"),
        ({"keeps": (145,)}, r"keeps must lie in \[0, 144\]"),
        ({"keeps": (-1,)}, r"keeps must lie in \[0, 144\]"),
        ({"questions": 0}, "questions be >= 1"),
        ({"splits": ("exam",)}, r"splits must be among .*\['exam'\]"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused(folder, changes, said):
    with pytest.raises(InvalidSetting, match=said):
        run(folder, **changes)


def test_models_of_another_language_are_refused(tmp_path):
    for name in ("target", "draft"):
        export(build_model(WIDTHS["debug"], vocabulary()), tmp_path / name)
        text = (tmp_path / name / "tokenizer.json").read_text()
        (tmp_path / name / "tokenizer.json").write_text(text.replace('"circle"', '"quasar"'))
    with pytest.raises(InvalidSetting, match="does not speak the language of the drawn world"):
        run(tmp_path)
