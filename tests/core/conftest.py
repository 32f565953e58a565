"""Toy pairs and scenarios shared by the engine's tests."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.acceptance import DRAWN, EXTRAS, TOKEN_EXTRAS, AcceptanceHead, Layers
from covspec_core.links.channels import ConstantLink
from covspec_core.profile import HardwareProfile
from covspec_core.recorder import Job, record
from covspec_core.reduction import REDUCTIONS
from covspec_core.request import Pair, Request
from covspec_core.rounds import CHANCES
from covspec_core.scenario import Scenario
from covspec_core.wire import protocol
from tests.core.chances import Dice
from tests.core.toys import ToyModel

LEVELS = (0.0, 0.5, 1.0)
LIMIT = 40

PROFILE = HardwareProfile(
    edge_step_s=0.2, verify_slope=0.3, draft_step_s=0.03, draft_keep_s=0.03, head_s=0.0,
    branch_slope=0.1, device_prefill_s=0.4, edge_prefill_s=0.8, catch_up_s=0.002,
    edge_catch_up_s=0.06, device_w=10.0, radio_w=1.0, vocab_size=6,
)  # fmt: skip


TOP = 2
"""Entries that come first in the protocol ``progressive``: few, as toys have small vocabularies."""


def kind_of(name):
    """A protocol by its name, or by its name and the format of its laws."""
    name, law_format = [*name.split(), "fp32"][:2]
    top = TOP if name == "progressive" or law_format == "top_k" else None
    return protocol(name, law_format, top)


def make_scenario(protocol_name="coupled", **changes):
    values = {
        "profile": PROFILE,
        "link": ConstantLink(up_bps=1e5, down_bps=1e5, rtt_s=(0.02, 0.05)),
        "protocol": kind_of(protocol_name),
        "keep_levels": LEVELS,
        "requests": 3,
        "link_rows": 4,
        "link_s": 10.0,
    }
    return Scenario(**(values | changes))


def make_pair(blur=0.3, vocab_size=6):
    target = ToyModel(vocab_size, seed=1)
    draft = ToyModel(vocab_size, seed=2, blur=blur, base=target)
    rng = np.random.default_rng(0)
    return Pair(
        draft=draft,
        target=target,
        order=lambda states: REDUCTIONS["covspec"](states, rng),
        head=toy_head(vocab_size),
    )


def make_requests(n):
    return [Request(None, 2000 + 10 * i, f"{chr(97 + i % 26)}{i}?", 1000 + i) for i in range(n)]


@pytest.fixture
def dice(monkeypatch):
    """Dice that decide whatever device and edge leave to chance."""
    dice = Dice()
    dice.replace_numbers(monkeypatch)
    return dice


@pytest.fixture(scope="session")
def pair():
    return make_pair()


@pytest.fixture(scope="session")
def requests():
    return make_requests(12)


def toy_head(hidden_size, units=4, seed=3):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def layers(n, outputs):
        flat = np.zeros(n, np.float32), np.ones(n, np.float32)
        return Layers(*flat, draw(n, units), draw(units), draw(units, outputs), draw(outputs))

    n = hidden_size + EXTRAS
    return AcceptanceHead(layers(n, len(CHANCES)), layers(n + TOKEN_EXTRAS, len(DRAWN)))


def make_recording(pair, requests, temperature, levels=LEVELS):
    jobs = [Job(request, "train") for request in requests]
    meta = {"pair": "toy", "reduction": "covspec"}
    return record(pair, jobs, levels, temperature, LIMIT, meta, top=TOP)


@pytest.fixture(scope="session")
def recording(pair, requests):
    return make_recording(pair, requests, 1.0)
