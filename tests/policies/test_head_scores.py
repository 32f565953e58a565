"""Proper scores of the acceptance head beside what margin and entropy foresee."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from env.presets import RECORDING
from policies import head_scores
from policies.drawn_scores import BEFORE, DRAWN, drawn_scores
from policies.head_scores import AHEAD, monotone, reliability
from policies.proper_scores import SCORES, TRUTH, brier, log_score
from tests.policies.conftest import toy_recording

CHANCES = np.linspace(0.02, 0.98, 49)


@pytest.mark.parametrize("score", [brier, log_score])
@pytest.mark.parametrize("true", [0.1, 0.5, 0.9])
def test_a_score_is_least_where_the_true_chance_is_said(score, true):
    means = score(CHANCES, np.full_like(CHANCES, true))
    assert CHANCES[means.argmin()] == pytest.approx(true)


@pytest.mark.parametrize("score", [brier, log_score])
def test_a_score_is_the_mean_over_what_comes_true(score):
    said, true = np.array(0.7), 0.2
    stands, falls = score(said, np.array(1.0)), score(said, np.array(0.0))
    assert score(said, np.array(true)) == pytest.approx(true * stands + (1 - true) * falls)


def test_a_sure_head_that_errs_costs_much_but_not_all():
    assert 5 < log_score(np.array(1.0), np.array(0.0)) < 10
    assert log_score(np.array(1.0), np.array(1.0)) < 0.01


def test_a_monotone_map_undoes_what_keeps_the_order_and_pools_what_does_not():
    rng = np.random.default_rng(0)
    true = rng.random(500)
    np.testing.assert_allclose(monotone(true**3, true, true**3), true)
    seen = np.array([0.0, 1.0, 1.0, 2.0])
    mapped = monotone(seen, np.array([0.2, 0.6, 0.8, 0.1]), np.array([-5.0, 0.5, 1.0, 9.0]))
    np.testing.assert_allclose(mapped, [0.2, 0.35, 0.5, 0.5])


def test_reliability_sees_who_says_too_much():
    true = np.random.default_rng(0).random(20_000)
    honest, boastful = reliability(true, true), reliability(np.sqrt(true), true)
    assert honest["calibration_error"] == pytest.approx(0)
    assert boastful["calibration_error"] == pytest.approx(2 / 3 - 1 / 2, abs=0.01)
    assert sum(boastful["share"]) == pytest.approx(1)
    assert all(s > t for s, t in zip(boastful["said"], boastful["true"], strict=True))


def test_margin_and_entropy_are_fair_on_what_they_learn_from():
    """There each is calibrated at every share of visual tokens, and no worse than the base rate."""
    recording = toy_recording(24)
    said = head_scores.said_chances(recording, recording)
    for name in head_scores.RIVALS:
        np.testing.assert_allclose(said[name].mean(axis=1), said[TRUTH].mean(axis=1))
        for score in (brier, log_score):
            own, base = (score(said[n], said[TRUTH]).mean(axis=(0, 1)) for n in (name, "base rate"))
            assert (own <= base + 1e-9).all()


def test_the_command_scores_the_head_that_ships_and_leaves_it_as_it_is(tmp_path, capsys):
    folder = tmp_path / "pair"
    folder.mkdir()
    for name in ("training.json", "acceptance_head.safetensors"):
        shutil.copy(RECORDING.parent / "pair" / name, folder / name)
    figure = tmp_path / "figure.png"
    weights = (folder / "acceptance_head.safetensors").read_bytes()
    words = ["--recording", str(RECORDING), "--split", "validation"]
    head_scores.main([*words, "--pair", str(folder), "--figure", str(figure)])
    assert (folder / "acceptance_head.safetensors").read_bytes() == weights
    assert Image.open(figure).size[0] > 500
    noted = json.loads((folder / "training.json").read_text())["acceptance_head"]
    assert noted["requests"] == 1200
    assert noted["scores"]["figure"] == "../figure.png"
    assert list(noted["scores"]["by_n"]) == [str(n) for n in AHEAD]
    for own in noted["scores"]["by_n"].values():
        for score in SCORES:
            means = own[score]
            assert means[TRUTH] < means["head"] < min(means["margin"], means["entropy"])
            assert own[f"{score}_over_margin"]["ci95"][0] > 0
        assert own["calibration_error"]["head"] < 0.02
    for own in noted["scores"]["of_drawn"].values():
        for score in SCORES:
            assert own[score][DRAWN] < own[score][BEFORE]
            assert own[f"{score}_below_before"]["ci95"][0] > 0
    assert capsys.readouterr().out.count("\n") == (len(AHEAD) + 2) * len(SCORES)


def test_a_head_that_knows_drawn_tokens_scores_as_their_noise_leaves_it():
    """It says 1 of tokens that stand and 0 of refused ones, and what follows as it is."""
    recording = toy_recording(6)
    sure, none = np.full_like(recording.drawn, 255), np.zeros_like(recording.drawn)
    then = np.roll(recording.overlap.astype(float), -1, axis=1)
    sure[..., 1] = np.rint(255 * then)
    knows = replace(recording, drawn=sure, drawn_refused=none)
    found = drawn_scores(knows, 0)
    assert found["stands"]["brier"][DRAWN] == 0
    assert found["stands"]["brier"][TRUTH] > 0.01
    follows = found["follows"]["brier"]
    assert follows[DRAWN] == pytest.approx(follows[TRUTH], abs=1e-5)
    assert follows[BEFORE] > follows[TRUTH]
