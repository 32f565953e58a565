"""The timeline of a session, as text and as a picture."""

from __future__ import annotations

import subprocess
import sys
from itertools import groupby

import numpy as np
import pytest
from PIL import Image

from covspec_core.rounds import Actions, RoundAction
from covspec_core.sessions import Sessions
from env.picture import HEIGHT, WIDTH
from env.play import World
from env.render import ROUNDS, Timeline, draw
from env.shown import TOKENS, WORK, size
from env.single import CoVSpecEnv
from tests.core.conftest import make_scenario
from tests.env.conftest import LINKS, play

ROW = {
    "started_s": 0.5, "sent_s": 1.0, "arrived_s": 2.0, "verify_s": 2.5, "verified_s": 3.0,
    "received_s": 3.25, "drafted": 5, "accepted": 2, "rejected": True, "skipped": 0, "burst": 0,
    "emitted": 3, "deviations": 0, "hit": False, "branch_steps": 4, "bytes_up": 4321,
    "bytes_down": 87, "charged": 5, "energy_j": 1.0, "request_done": False, "session_done": False,
}  # fmt: skip
ACCEPTED = {"accepted": 5, "rejected": False, "emitted": 6, "hit": True}
BURST = {"drafted": 0, "accepted": 0, "rejected": False, "burst": 3, "branch_steps": 0}
LOCAL = {
    "arrived_s": 1.0, "verify_s": 1.0, "verified_s": 1.0, "received_s": 1.0, "accepted": 0,
    "rejected": False, "skipped": 5, "emitted": 5, "branch_steps": 0, "bytes_up": 0,
    "bytes_down": 0,
}  # fmt: skip


def timeline_of(*rows):
    timeline = Timeline(make_scenario())
    for row in rows:
        timeline.add(row)
    return timeline


def lanes(text):
    """The lanes as ``{name: letters}``."""
    rows = (line.split("|") for line in text.splitlines() if "|" in line)
    return {row[0].strip(): row[1] for row in rows}


@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_a_session_can_be_drawn_before_its_first_round(recording, render_mode):
    env = CoVSpecEnv(make_scenario(), recording=recording, render_mode=render_mode)
    env.reset(seed=0)
    drawn = env.render()
    if render_mode == "ansi":
        assert "no round yet" in drawn
    else:
        assert (drawn.shape, drawn.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)


def test_without_a_render_mode_nothing_is_drawn(env):
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert env.render() is None


@pytest.mark.parametrize("link", LINKS)
def test_every_round_of_a_session_can_be_drawn(recording, link):
    env = CoVSpecEnv(make_scenario(link=LINKS[link]), recording=recording, render_mode="ansi")
    steps = play(env, 1)[1:]
    text = env.render()
    for number, (_, _, info) in list(enumerate(steps, start=1))[-ROUNDS:]:
        line = next(line for line in text.splitlines() if line.split()[:1] == [str(number)])
        row = info["round"]
        for fact in (row["drafted"], f"{row['received_s'] - row['started_s']:.3f}"):
            assert str(fact) in line.split()
        for count in (row["bytes_up"], row["bytes_down"]):
            assert size(count) in line
        written = line.split()[-1]
        assert sum(written.count(letter) for letter in "+x*e~") == row["emitted"]
        assert written.count("+") == row["accepted"]
        assert written.count("x") == row["rejected"]
    total_s = steps[-1][2]["round"]["received_s"]
    assert f"{len(steps)} rounds" in text
    assert f"in {total_s:.2f} s" in text


def test_a_long_session_shows_its_last_rounds_only():
    rows = [
        {**ROW, **{k: v + 10 * i for k, v in ROW.items() if k.endswith("_s")}} for i in range(500)
    ]
    timeline = timeline_of(*rows)
    text = timeline.ansi()
    assert "500 rounds, 1500 tokens in 4993.25 s" in text
    numbers = [line.split()[0] for line in text.splitlines() if line.lstrip()[:1].isdigit()]
    assert [n for n in numbers if n.isdigit()] == [str(n) for n in range(489, 501)]
    assert timeline.rgb_array().shape == (HEIGHT, WIDTH, 3)


def test_text_lanes_show_who_works_when():
    shown = lanes(timeline_of(ROW).ansi())
    for lane, letters in (("device", "idb"), ("link", "\\/"), ("edge", ".v")):
        assert [letter for letter, _ in groupby(shown[lane].replace(" ", ""))] == list(letters)
    share = len(shown["link"]) / 3.25
    assert shown["link"].count("\\") == pytest.approx(1.0 * share, abs=1)
    assert shown["edge"].count("v") == pytest.approx(0.5 * share, abs=1)


@pytest.mark.parametrize(
    ("change", "tokens"),
    [({}, "++x--"), (ACCEPTED, "+++++*"), (BURST, "eee"), (LOCAL, "~~~~~")],
    ids=["rejected", "accepted", "burst", "local"],
)
def test_tokens_stand_in_the_order_of_the_text(change, tokens):
    timeline = timeline_of(ROW | change)
    assert timeline.ansi().splitlines()[7].split()[-1] == tokens
    timeline.rgb_array()


def test_what_did_not_happen_is_not_drawn():
    shown = lanes(timeline_of(ROW | LOCAL).ansi())
    assert shown["link"].strip() == shown["edge"].strip() == ""
    assert set(shown["device"]) == {"i", "d"}
    assert "e" in lanes(timeline_of(ROW | BURST).ansi())["edge"]


def test_a_round_without_duration_can_be_drawn():
    times = {name: 0.0 for name in ROW if name.endswith("_s")}
    timeline = timeline_of(ROW | LOCAL | times)
    assert "1 rounds" in timeline.ansi()
    timeline.rgb_array()


def test_clearing_begins_anew():
    timeline = timeline_of(ROW, ROW)
    timeline.clear()
    assert timeline.ansi() == timeline_of().ansi()
    np.testing.assert_array_equal(timeline.rgb_array(), timeline_of().rgb_array())


def test_the_picture_shows_each_kind_of_work_and_token():
    def colours(*rows):
        return {tuple(c) for c in timeline_of(*rows).rgb_array()[50:].reshape(-1, 3).tolist()}

    def rgb(mark):
        return tuple(int(mark.colour[i : i + 2], 16) for i in (1, 3, 5))

    seen = colours(ROW, ROW | ACCEPTED)
    for kind in ("start", "draft", "ahead", "queue", "verify"):
        assert rgb(WORK[kind]) in seen
    assert rgb(WORK["burst"]) not in seen
    assert rgb(TOKENS["accepted"]) in seen
    assert rgb(TOKENS["bonus"]) in seen
    assert rgb(WORK["burst"]) in colours(ROW | BURST)


def test_live_gates_and_bursts_are_drawn(recording):
    scenario = make_scenario()
    world = World.load(scenario, recording=recording)
    sessions = Sessions(scenario, world.links, world.replay(1), 1)
    sessions.begin(np.array([0]), np.array([5], dtype=np.uint64))
    timeline = Timeline(scenario)
    for action in (RoundAction(0.5, 2, 0, 0.0), RoundAction(0.5, 0, 0), RoundAction(0.5, 0, 0)):
        timeline.add(sessions.play(Actions.of([action])).row(0))
    text = timeline.ansi()
    assert "~~" in text
    assert lanes(text)["edge"].count("e") > 40
    timeline.rgb_array()


def test_a_figure_is_the_same_drawing_in_print_size(tmp_path):
    path = tmp_path / "timeline.png"
    draw(make_scenario(), [ROW, ROW | ACCEPTED], path)
    with Image.open(path) as image:
        assert image.size == (3 * WIDTH, 3 * HEIGHT)
        small = np.asarray(image.convert("RGB").reduce(3), dtype=int)
    shown = timeline_of(ROW, ROW | ACCEPTED).rgb_array()
    assert np.abs(small - shown).mean() < 5


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (606712, "607 kB"), (6.67e6, "6.67 MB"),
     (999_999, "1 MB"),],
)  # fmt: skip
def test_sizes_are_for_reading(count, text):
    assert size(count) == text


def test_drawing_needs_no_plotting_library():
    code = "import sys, env.single; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
