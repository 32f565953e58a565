"""``decode.py`` with pairs, dtypes and devices of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from covspec_core.errors import LinkTimeout, ModelFailure, OutOfMemory
from covspec_core.provenance import ROOT
from policies import decoding
from policies.model_settings import ModelSettings
from tests.core.tiny import save

ENV = os.environ | {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
PAIR = ROOT / "assets" / "pair"
IMAGE = ROOT / "assets" / "examples" / "kitchen.png"


def test_any_pair_decodes_in_any_dtype(tmp_path):
    draft = save("internvl", tmp_path / "draft", 1)
    target = save("qwen2_5_vl", tmp_path / "target")
    done = subprocess.run(
        [
            sys.executable, "decode.py", f"image={IMAGE}", "question=where is the circle?",
            "controller=paper_rule", "output=json", f"model.draft={draft}",
            f"model.target={target}", "model.head=null", "model.limit=12",
            "model.dtype=bfloat16", "model.device=cpu",
        ],
        cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert 0 < answer["tokens"] <= 12


@pytest.mark.parametrize("error", [LinkTimeout, ModelFailure, OutOfMemory])
def test_an_interrupted_answer_shows_what_was_written(monkeypatch, error):
    def fails(*args, **options):
        raise error("something broke", (57, 58))

    monkeypatch.setattr(decoding, "generate", fails)
    model = ModelSettings(str(PAIR / "draft"), str(PAIR / "target"), "none.npz")
    asked = decoding.Decoding(
        None, model, None, Image.new("RGB", (8, 8)), "what is this?", 0, "virtual"
    )
    with pytest.raises(error, match=r"something broke; written so far: '\w+ \w+'$") as caught:
        asked.run(lambda line: None)
    assert caught.value.tokens == (57, 58)
