"""The acceptance head's command fits, measures and notes what it did."""

from __future__ import annotations

import json
import shutil

import numpy as np

from covspec_core.acceptance import TOKEN_EXTRAS, features_of, load_head
from covspec_core.head_fit import Course, Examples, fit_head
from covspec_core.pair import head
from covspec_core.rounds import CHANCES
from env.presets import RECORDING


def test_the_command_fits_a_head_for_a_pair(tmp_path, capsys):
    folder = shutil.copytree(RECORDING.parent / "pair", tmp_path / "pair")
    before = load_head(folder / head.HEAD)
    head.main(["--pair", str(folder), "--train", "4", "--validation", "2"])
    fitted = load_head(folder / head.HEAD)
    for part in ("ahead", "drawn"):
        weights = [getattr(head, part).weight_in for head in (fitted, before)]
        assert not np.array_equal(*weights)
    known = json.loads((folder / "training.json").read_text())
    assert known["acceptance_head"]["requests"] == 4
    assert {"target", "draft"} <= set(known)
    assert json.loads(capsys.readouterr().out).keys() <= known["acceptance_head"].keys()


def test_quality_tells_a_head_that_knows_from_a_margin_that_does_not():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(8000, 4))
    chances = 1 / (1 + np.exp(-3 * hidden[:, :1])) ** np.array(CHANCES)
    noise = rng.random(8000)
    token = rng.normal(size=(8000, TOKEN_EXTRAS))
    columns = (
        features_of(hidden, noise, noise, 0.5), chances, token, token[:, 0] > 0, token,
        np.ones(8000), chances[:, 0],
    )  # fmt: skip
    known = Examples(*(column.astype(np.float32) for column in columns))
    training, others = (
        Examples(*(c[part] for c in known)) for part in (slice(6000), slice(6000, None))
    )
    found = head.quality(fit_head(training, Course(epochs=100)), others)
    assert found["correlation"][1] > 0.95
    assert found["correlation_of_drawn"] > 0.9
    assert abs(found["correlation_of_drawn_before"]) < 0.1
    assert abs(found["correlation_of_margin"]) < 0.1
    assert found["calibration_error"] < 0.03
