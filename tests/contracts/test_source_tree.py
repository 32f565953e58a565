"""Packages that were installed without ``conf/`` and ``assets/`` say what to do."""

from __future__ import annotations

import pytest

from covspec_core import provenance
from covspec_core.errors import InvalidSetting
from env.play import World
from env.presets import named_scenario
from policies.console import composed
from tests.core.conftest import make_scenario

USES = {
    "a preset": lambda: named_scenario("paper"),
    "the recording": lambda: World.load(make_scenario()),
    "a configuration": lambda: composed("train", []),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_without_the_source_tree_an_editable_install_is_asked_for(use, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    with pytest.raises(InvalidSetting, match=r"no conf and no assets: .*pip install -e \."):
        use()
