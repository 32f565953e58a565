"""Compiled arithmetic: loaded late, compiled once, and anew when any of its sources changes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from covspec_core.kernels import compiled, kernel, links
from covspec_core.live import LiveSource
from covspec_core.rounds import Actions, RoundAction
from covspec_core.sessions import Sessions
from env.single import CoVSpecEnv
from env.vector import CoVSpecVectorEnv
from tests.core.conftest import LIMIT, make_scenario
from tests.env.conftest import play, some_actions

CORE = Path(compiled.__file__).parents[1]


def imported(path):
    """Modules of the core that a file imports, as paths within it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("covspec_core"):
            for alias in node.names:
                parts = [*node.module.split(".")[1:], alias.name]
                yield next(
                    "/".join(parts[:n]) + ".py"
                    for n in range(len(parts), 0, -1)
                    if (CORE / ("/".join(parts[:n]) + ".py")).exists()
                )


def test_every_source_of_compiled_code_counts_for_the_cache():
    files = sorted(Path(compiled.__file__).parent.glob("*.py"))
    used = {name for file in files for name in imported(file)}
    outside = {name for name in used if not name.startswith("kernels/")}
    assert outside <= set(compiled._ALSO)
    assert len(outside) >= 5


def test_a_changed_source_makes_another_key_of_the_cache(monkeypatch):
    cache, target = kernel().courses._cache, kernel().courses.targetctx.codegen()
    before = cache._index_key((), target)
    monkeypatch.setattr(compiled, "sources_digest", lambda: "other")
    assert cache._index_key((), target) != before
    assert cache._index_key((), target)[:-1] == before[:-1]


def test_loops_are_compiled_for_one_kind_of_arrays(pair, requests, recording):
    scenario = make_scenario(requests=2)
    play(CoVSpecEnv(scenario, recording=recording), seed=3)
    batch = CoVSpecVectorEnv(5, scenario, recording=recording)
    batch.reset(seed=0)
    for _ in range(10):
        batch.step(some_actions(batch, np.random.default_rng(0)))
    source = LiveSource(pair, scenario.protocol, 1.0, LIMIT, lambda key: requests[key % 12])
    live = Sessions(scenario, batch.play.sessions.path.table, source, 1)
    live.begin(np.array([0]), np.zeros(1, np.uint64))
    live.edge_only_s(np.array([0]))
    for _ in range(3):
        live.status()
        live.play(Actions.of([RoundAction(0.5, 2, 1)]))
    loops = [loop for module in (kernel(), links) for loop in vars(module).values()]
    counts = [
        len(loop.signatures)
        for loop in loops
        if isinstance(getattr(loop, "_cache", None), compiled._Cache)
    ]
    assert sum(counts) >= 12
    assert max(counts) == 1


def test_numba_is_loaded_by_the_first_session_only():
    code = (
        "import sys, policies.settings, covspec_core.engine, covspec_core.wall, env.vector\n"
        "sys.exit('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CORE.parent, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("seed", range(3))
def test_assigned_columns_are_copied_into_the_sessions(seed):
    rng = np.random.default_rng(seed)
    scenario = make_scenario()
    sessions = Sessions(scenario, scenario.link.realise(rng, 2, 10.0), None, 4)
    now_s, position = rng.integers(0, 99, 4) * 0.5, rng.integers(0, 9, 4)
    sessions.now_s, sessions.place.position = now_s, position
    now_s += 1
    np.testing.assert_array_equal(sessions.records["now_s"], now_s - 1)
    np.testing.assert_array_equal(sessions.records["position"], position)
    assert sessions.place.position.base is sessions.records
