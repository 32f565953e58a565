"""What the README and ``docs/`` tell users to type: it runs, composes and survives any shell."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from covspec_core.provenance import ROOT
from env.codec import Codec
from env.presets import named_scenario
from policies.console import composed
from tests.policies.conftest import random_network

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ENTRIES = ("train.py", "evaluate.py", "decode.py")
YOURS = {"link@scenario.links.custom=mine": "link@scenario.links.custom=fading"}
"""Files that a user has, and ones of ours in their place."""


def blocks(page, language):
    """Fenced blocks of a page in a language; none is a shell's."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)


def lines(page):
    """Command lines of a page, those that go on in the next line joined."""
    text = "\n".join(blocks(page, "")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]


COMMANDS = [(page.name, line) for page in PAGES for line in lines(page)]
COMPOSED = [line for _, line in COMMANDS if line.split()[1:2] and line.split()[1] in ENTRIES]
SNIPPETS = [(page, code) for page in PAGES for code in blocks(page, "python")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that looks like the source tree, with a trained controller of either level."""

    def make(level="round"):
        (tmp_path / "assets").symlink_to(ROOT / "assets")
        codec = Codec.of(named_scenario("paper")).at(level)
        random_network(codec).save(tmp_path / "runs" / "latest" / "policy")
        monkeypatch.chdir(tmp_path)

    return make


@pytest.mark.parametrize(
    ("page", "code"), SNIPPETS, ids=[f"{page.name}_{code.split()[1]}" for page, code in SNIPPETS]
)
def test_every_python_snippet_runs(page, code, place, capsys):
    place()
    exec(compile(code, page, "exec"), {})


def test_a_controller_at_token_level_runs_the_same_snippet(place, capsys):
    place("token")
    (code,) = (code for page, code in SNIPPETS if "load_controller" in code)
    used = {}
    exec(compile(code, "README.md", "exec"), used)
    assert "x edge-only" in capsys.readouterr().out
    assert used["controller"].codec.level == "token"


@pytest.mark.parametrize("line", COMPOSED)
def test_every_command_composes(line):
    _, entry, *words = shlex.split(line, comments=True)
    composed(Path(entry).stem, [YOURS.get(word, word) for word in words if word[0] != "-"])


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_brackets_are_quoted_as_some_shells_ask(page, line):
    unquoted = re.sub(r"\"[^\"]*\"|'[^']*'|#.*", "", line)
    assert not set("[]{}*?") & set(unquoted), page
