"""Imports go left only: engine <- environment <- controllers <- entries."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("covspec_core", "env", "policies", "entries")
ENTRIES = ("train", "evaluate", "decode")

BANNED = {
    "covspec_core": {"gymnasium", "stable_baselines3", "hydra", "omegaconf", "wandb"},
    "env": {"torch", "hydra", "omegaconf", "wandb", "transformers"},
    "policies": {"transformers", "wandb"},
    "entries": {"transformers", "wandb"},
}
"""Packages that a layer does without ..."""
EXCEPT = {
    "wandb": ("policies/tracking.py",),
    "transformers": ("covspec_core/models/", "covspec_core/pair/"),
}
"""... but for these files; whoever stands here is banned everywhere else."""


def layer_of(module: str) -> str | None:
    """Layer of a module name, ``None`` for what is not ours."""
    top = module.split(".")[0]
    return "entries" if top in ENTRIES else top if top in LAYERS else None


def imports(path: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every import, those inside functions included."""
    package = list(Path(path).parent.parts)
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.lineno, ".".join([*base, name])) for name in names)
        elif isinstance(node, ast.Call) and _loads_a_module(node):
            yield node.lineno, node.args[0].value


def _loads_a_module(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    constant = bool(call.args) and isinstance(call.args[0], ast.Constant)
    return name in ("import_module", "__import__") and constant


def breaches(path: str, source: str) -> list[str]:
    """What a file imports against the rules; ``path`` is relative to the root."""
    own = layer_of(path.removesuffix(".py").replace("/", "."))
    assert own is not None
    found = []
    for line, module in imports(path, source):
        other, package = layer_of(module), module.split(".")[0]
        if other is not None and LAYERS.index(other) > LAYERS.index(own):
            found.append(f"{path}:{line}: {own} must not import {module}")
        allowed = EXCEPT.get(package)
        outside = allowed is not None and not path.startswith(allowed)
        if outside or (allowed is None and package in BANNED[own]):
            found.append(f"{path}:{line}: {package} has no place here")
    return found


FILES = sorted(
    str(path.relative_to(ROOT))
    for pattern in (*(f"{layer}/**/*.py" for layer in LAYERS), *(f"{name}.py" for name in ENTRIES))
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("path", FILES)
def test_imports_go_left_only(path):
    assert breaches(path, (ROOT / path).read_text()) == []


def test_every_layer_is_looked_at():
    found = {layer_of(path.removesuffix(".py").replace("/", ".")) for path in FILES}
    assert {"covspec_core", "env", "policies"} <= found
    assert "covspec_core/rounds.py" in FILES


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("covspec_core/engine.py", "from env.codec import Codec"),
        ("covspec_core/pair/data.py", "import policies.rules as rules"),
        ("covspec_core/engine.py", "def late():\n    import gymnasium"),
        ("covspec_core/models/hf.py", "from stable_baselines3.common import utils"),
        ("covspec_core/engine.py", "from hydra import compose"),
        ("covspec_core/engine.py", "import transformers"),
        ("covspec_core/engine.py", "import importlib\nimportlib.import_module('env.codec')"),
        ("env/codec.py", "from policies import learned"),
        ("env/codec.py", "from train import main"),
        ("env/play.py", "if True:\n    from torch import nn"),
        ("env/presets.py", "from omegaconf import OmegaConf"),
        ("policies/runs.py", "import wandb"),
        ("policies/learned.py", "from ..train import main"),
        ("policies/rules.py", "import decode"),
        ("train.py", "import wandb.sdk"),
        ("evaluate.py", "from transformers import AutoModel"),
    ],
)
def test_a_wrong_import_is_found(path, source):
    assert len(breaches(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("env/codec.py", "from covspec_core.rounds import Status\nimport gymnasium"),
        ("env/single.py", "from .codec import Codec"),
        ("policies/learned.py", "import torch, stable_baselines3\nfrom env import codec"),
        ("policies/tracking.py", "def start():\n    import wandb"),
        ("train.py", "import hydra\nfrom policies import training"),
        ("covspec_core/models/hf.py", "import torch, transformers"),
        ("covspec_core/pair/tokenizer.py", "from transformers import PreTrainedTokenizerFast"),
        (
            "covspec_core/pair/evaluate.py",
            "from covspec_core.pair import train\nfrom . import data",
        ),
    ],
)
def test_a_right_import_is_let_through(path, source):
    assert breaches(path, source) == []


def test_settings_engine_and_environment_load_without_the_heavy_libraries():
    code = (
        "import sys, policies.settings, covspec_core.engine, env\n"
        "heavy = ('torch', 'transformers', 'matplotlib', 'wandb', 'stable_baselines3')\n"
        "sys.exit(', '.join(name for name in heavy if name in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
