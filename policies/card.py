"""Model card of a learned controller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from policies.learned import LearnedController
from policies.report import table
from policies.runs import write_text

WHEN = {"round": "before it begins", "token": "asked behind every drafted token"}
ASKED = {
    "round": ('actions = load_controller("PATH").decide(status)',),
    "token": (
        "from covspec_core.engine import decision",
        'actions = decision(load_controller("PATH"), sessions)',
    ),
}
"""How controllers of both levels are used."""
OPTIONAL = {
    "gate_threshold": "margins above which a block is not checked",
    "entropy_stop": "entropies beyond which a token is a block's last",
    "chance_stop": "foreseen chances of standing below which a block ends",
}
"""Parts of an action that only some controllers set."""


def write_card(folder: Path, controller: LearnedController, report: Mapping[str, Any]) -> None:
    """``README.md`` of a controller's folder, from its own facts and measured results."""
    write_text(folder / "README.md", card(controller, report))


def _listed(levels: Iterable[float]) -> str:
    return ", ".join(f"{level:.3g}" for level in levels)


def card(controller: LearnedController, report: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    codec, meta, made = controller.codec, controller.meta, report["provenance"]
    network, shown = controller.network, len(codec.fields)
    sizes = " x ".join(str(weight.shape[1]) for weight, _ in network.layers)
    memory = f"an LSTM of {network.lstm.units} units, " if network.lstm else ""
    inputs = f"{shown} inputs" + (f" in {network.history} rounds" if network.history > 1 else "")
    optional = {name: text for name, text in OPTIONAL.items() if name in codec.parts}
    trained_on = meta["trained_on"].items()
    results = report["controllers"]["learned"]
    columns = (("speedup", ".3f"), ("mb_per_1024_tokens", ".3f"), ("deviation_rate", ".2%"))
    rows = [
        [regime, *(format(r[key], form) for key, form in columns)] for regime, r in results.items()
    ]
    lines = [
        "# Learned controller",
        "",
        "Sets the share of visual tokens kept, the draft length and the branch width of every",
        f"draft-and-verify round, and what else is listed below, {WHEN[codec.level]}.",
        "Runs on NumPy alone:",
        "",
        "```python",
        "from policies import load_controller",
        *ASKED[codec.level],
        "```",
        "",
        f"- network: {inputs}, {memory}layers of {sizes} units, {network.parameters} parameters",
        f"- keep levels: {_listed(codec.keep_levels)}",
        f"- draft lengths: {', '.join(map(str, codec.draft_lengths))} (0: the edge alone)",
        f"- branch widths: {', '.join(map(str, codec.branch_widths))}",
        *(f"- {text}: {_listed(codec.parts[name])}" for name, text in optional.items()),
        *(f"- trained on {kind}: {', '.join(names)}" for kind, names in trained_on if names),
        f"- training took {meta['training_seconds']:.0f} s",
        f"- made by `{made['command']}` at commit `{made['commit'][:12]}`, seed {made['seed']},"
        f" {made['hardware']}",
        "",
        "Measured on held-out links and requests, speed over edge-only:",
        "",
        *table(["regime", "speed", "MiB per 1024 tokens", "deviations"], rows),
        "",
        "Limits: it knows the pair and what it was trained on; elsewhere judge it first",
        "(`evaluate.py`). A scenario with other choices refuses it.",
    ]
    return "\n".join(lines) + "\n"
