"""Judge controllers or run a named experiment: ``python evaluate.py experiment=NAME``."""

from __future__ import annotations

import json
from typing import Any

from policies.console import run_entry
from policies.experiments import experiment
from policies.settings import read_output


def main(config: dict[str, Any]) -> None:
    """Run the experiment of a composed configuration and print what it found."""
    run, output = experiment(config["experiment"]), read_output(config)
    findings = run(config)
    print(json.dumps(findings.values) if output == "json" else findings.text)


if __name__ == "__main__":
    run_entry("evaluate", main)
