"""Every command that cannot do what it is asked for says so in one line, with exit status 2."""

from __future__ import annotations

from importlib import import_module

import pytest

from covspec_core.provenance import ROOT

PAIR = ROOT / "assets" / "pair"
INTERNVL = str(ROOT / "docs" / "checkpoints" / "internvl2_5-4b")
WRONG = [
    ("policies.nearness", "--controller none/policy", "none/policy holds no controller"),
    ("policies.nearness", "--links pper", "link must be one of"),
    ("policies.nearness", "--sessions 1", "sessions must be >= 2, got 1"),
    ("policies.levels", "--seeds 0", "must be above 0, got 60.0, 1024 and 0"),
    ("policies.levels", "--sessions 0", "must be above 0, got 60.0, 0 and 1"),
    ("policies.levels", "--seconds 0", "must be above 0, got 0.0, 1024 and 1"),
    ("policies.head_scores", "--recording none.npz", "no recording at none.npz"),
    (
        "policies.reductions",
        f"--pair {PAIR} --out o --image none.png",
        "there is no image at none.png",
    ),
    ("policies.reductions", "--out o --pair none --questions 1", "got none without draft"),
    ("policies.reductions", "--out o --questions 1 --methods best", "reduction must be one of"),
    ("policies.reductions", "--out o", "there is nothing to draw; give --image, --questions"),
    ("covspec_core.calibrate", "--recording none.npz", "no recording at none.npz"),
    ("covspec_core.links.fit", "none.json --only lte_flying", "network must be one of"),
    ("covspec_core.links.fit", "none.json", "none.json must be a file of statistics"),
    ("covspec_core.models.memory", "a/b/c", "no model loads from folder or hub checkpoint 'a/b/c'"),
    ("covspec_core.models.memory", f"{INTERNVL} --dtype auto", "dtype must be one of"),
    ("covspec_core.models.memory", f"{INTERNVL} --positions 0", "positions must be >= 1"),
    ("covspec_core.pair.record", "--pair none", "--pair must hold draft and target, got none"),
    ("covspec_core.pair.record", "--reduction magic", "reduction must be one of"),
    ("covspec_core.pair.head", "--pair none", "--pair must hold draft and target, got none"),
    ("covspec_core.pair.formats", "--pair none", "--pair must hold draft and target, got none"),
    ("covspec_core.pair.card", "--pair none", "--pair must hold draft and target, got none"),
]


@pytest.mark.parametrize(("module", "words", "said"), WRONG, ids=str)
def test_a_wrong_command_ends_with_one_line(
    monkeypatch, tmp_path, capsys, module, words, said
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        import_module(module).main(words.split())
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{module.rpartition('.')[2]}: ")
    assert said in line
    assert not list(tmp_path.iterdir())
