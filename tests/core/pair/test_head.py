"""The acceptance head's command fits, measures and notes what it did."""

from __future__ import annotations

import json
import shutil

import numpy as np

from covspec_core.acceptance import features_of, fit_head, load_head
from covspec_core.pair import head
from covspec_core.rounds import CHANCES
from env.presets import RECORDING


def test_the_command_fits_a_head_for_a_pair(tmp_path, capsys):
    folder = shutil.copytree(RECORDING.parent / "pair", tmp_path / "pair")
    before = load_head(folder / head.HEAD)
    head.main(["--pair", str(folder), "--train", "4", "--validation", "2"])
    fitted = load_head(folder / head.HEAD)
    assert not np.array_equal(fitted.weight_in, before.weight_in)
    known = json.loads((folder / "training.json").read_text())
    assert known["acceptance_head"]["requests"] == 4
    assert {"target", "draft"} <= set(known)
    assert json.loads(capsys.readouterr().out).keys() <= known["acceptance_head"].keys()


def test_quality_tells_a_head_that_knows_from_a_margin_that_does_not():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(8000, 4))
    chances = 1 / (1 + np.exp(-3 * hidden[:, :1])) ** np.array(CHANCES)
    noise = rng.random(8000)
    features = features_of(hidden, noise, noise, 0.5)
    fitted = fit_head(features[:6000], chances[:6000].astype(np.float32), epochs=100)
    found = head.quality(fitted, features[6000:], chances[6000:])
    assert found["correlation"][1] > 0.95
    assert abs(found["correlation_of_margin"]) < 0.1
    assert found["calibration_error"] < 0.03
