"""Answer a question about an image: ``python decode.py image=FILE question=TEXT``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from policies.console import run_entry, say


def main(config: dict[str, Any]) -> None:
    """Check all settings, then load the pair and decode under a controller."""
    from policies.decoding import read_decoding

    decoding = read_decoding(config)
    answer = decoding.run(say)
    if config["output"] == "json":
        print(json.dumps(asdict(answer) | {"speedup": answer.speedup}))
    else:
        print(answer.answer)
        say(
            f"{answer.tokens} tokens in {answer.rounds} rounds, {answer.seconds:.2f} s, "
            f"{answer.speedup:.2f}x edge-only ({answer.seconds_edge_only:.2f} s), "
            f"first token after {answer.ttft_s:.2f} s, {answer.bytes_up} B up, "
            f"{answer.bytes_down} B down, {answer.deviations} deviations"
        )


if __name__ == "__main__":
    run_entry("decode", main)
