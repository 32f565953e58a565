"""Answer a question about an image: ``python decode.py image=FILE question=TEXT``."""

from __future__ import annotations

import json
from typing import Any

from policies.console import run_entry, say


def main(config: dict[str, Any]) -> None:
    """Check all settings, then load the pair and decode under a controller."""
    from policies.decoding import described, read_decoding

    answer = read_decoding(config).run(say)
    values, line = described(answer)
    if config["output"] == "json":
        print(json.dumps(values))
    else:
        print(answer.answer)
        say(line)


if __name__ == "__main__":
    run_entry("decode", main)
