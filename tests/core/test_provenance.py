"""Every figure says where it comes from."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

from covspec_core.provenance import PACKAGES, provenance


def test_provenance_says_where_figures_come_from(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py", "seed=3", "name=my run"])
    made = provenance(3)
    assert set(made) == {
        "commit", "changed_files", "command", "seed", "versions", "hardware", "time",
    }  # fmt: skip
    assert made["command"] == "python train.py seed=3 'name=my run'"
    assert made["seed"] == 3
    assert set(made["versions"]) == {"python", *PACKAGES}
    assert "cores" in made["hardware"]
    json.dumps(made)


def test_a_module_is_named_as_python_starts_it():
    words = [sys.executable, "-m", "covspec_core.calibrate", "--quantile", "0.2"]
    made = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)["provenance"]
    assert made["command"] == shlex.join(["python", *words[1:]])


def test_provenance_does_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    made = provenance(0)
    assert (made["commit"], made["changed_files"]) == ("unknown", 0)
