"""Every figure says where it comes from."""

from __future__ import annotations

import json
import sys

from covspec_core.provenance import PACKAGES, provenance


def test_provenance_says_where_figures_come_from(monkeypatch):
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


def test_provenance_does_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    made = provenance(0)
    assert (made["commit"], made["changed_files"]) == ("unknown", 0)
