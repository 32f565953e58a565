"""The drawn stream has the statistics that its constants name."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.recording import Recording
from covspec_core.stream import SPREAD, StreamConstants, StreamSize, draw_stream, offset_of

CONSTANTS = StreamConstants(0.95, 0.9, clarity=0.9, sure=0.8, candidate=0.25)
LOSSES = {1 / 12: 1.0, 1.0: 0.0}
SIZE = StreamSize(requests=40, tokens=1024)


@pytest.fixture(scope="module")
def stream():
    return draw_stream(CONSTANTS, LOSSES, SIZE, "train", 0)


def test_mean_acceptances_are_the_constants(stream):
    pruned, full = stream.overlap.astype(float).mean(axis=1)
    assert pruned == pytest.approx(0.9, abs=0.005)
    assert full == pytest.approx(0.95, abs=0.005)


def test_an_offset_gives_its_mean_acceptance():
    d = np.random.default_rng(0).normal(size=10**6)
    refused = 1 / (1 + np.exp(-(offset_of(0.97) + SPREAD * d)))
    assert refused.mean() == pytest.approx(0.03, abs=6e-4)


def test_the_share_of_sure_margins_is_the_constant_and_grows_with_the_tokens_seen(stream):
    pruned, full = (stream.margin >= 0.5).mean(axis=1)
    assert pruned == pytest.approx(0.8, abs=0.01)
    assert full > pruned + 0.01


def test_a_clear_draft_is_hardly_ever_confidently_wrong(stream):
    blind = draw_stream(replace(CONSTANTS, clarity=0.01), LOSSES, SIZE, "train", 0)

    def wrong(drawn):
        return (1 - drawn.overlap.astype(float))[0][drawn.margin[0] >= 0.5].mean()

    assert wrong(stream) < 0.04
    assert wrong(blind) == pytest.approx(0.1, abs=0.01)


def test_candidates_hold_the_bonus_token_as_often_as_geometric_chances_say(stream):
    for width in (1, 2, 4):
        assert (stream.rank[0] < width).mean() == pytest.approx(1 - 0.75**width, abs=0.01)


def test_shared_noise_accepts_with_the_chance_of_independent_draws(stream):
    stands = stream.draw == stream.tokens
    np.testing.assert_allclose(stands.mean(axis=1), stream.q.mean(axis=1), atol=0.005)
    assert (stands[1] >= stands[0]).all()


def test_chances_are_calibrated_and_know_the_margin_alone(stream):
    like = {}
    for margin, chances in zip(stream.margin[0], stream.chances[0], strict=True):
        like.setdefault(float(margin), set()).add(tuple(chances))
    assert np.mean([len(seen) for seen in like.values()]) < 1.1
    assert stream.chances[0, :, 0].mean() / 255 == pytest.approx(0.9, abs=0.01)


def test_a_drawn_token_tells_no_more_than_was_foreseen(stream):
    first, second = np.moveaxis(stream.chances[..., :2].astype(float), -1, 0)
    stands, follows = np.moveaxis(stream.drawn.astype(float), -1, 0)
    np.testing.assert_array_equal(stands, first)
    np.testing.assert_allclose(stands * follows / 255, second, atol=0.51)


def test_agreement_and_entropy_follow_the_margin(stream):
    order = np.argsort(stream.margin[0].astype(float), kind="stable")
    assert (np.diff(stream.agreement[0][order].astype(float)) >= -2e-3).all()
    assert (np.diff(stream.entropy[0][order].astype(float)) <= 2e-3).all()


def test_equal_seeds_draw_equal_streams_and_splits_share_no_noise(stream):
    same = draw_stream(CONSTANTS, LOSSES, SIZE, "train", 0)
    for field in fields(Recording):
        if field.name != "meta":
            np.testing.assert_array_equal(getattr(same, field.name), getattr(stream, field.name))
    for other in (
        draw_stream(CONSTANTS, LOSSES, SIZE, "test", 0),
        draw_stream(CONSTANTS, LOSSES, SIZE, "train", 1),
    ):
        correlation = np.corrcoef(other.margin[0].astype(float), stream.margin[0].astype(float))
        assert abs(correlation[0, 1]) < 0.03


@pytest.mark.parametrize("name", [field.name for field in fields(StreamConstants)])
@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, float("nan")])
def test_constants_outside_0_to_1_are_refused_by_name(name, bad):
    with pytest.raises(InvalidSetting, match=rf"stream\.{name} must lie in \(0, 1\)"):
        replace(CONSTANTS, **{name: bad})


def test_an_empty_stream_and_an_unknown_split_are_refused():
    with pytest.raises(InvalidSetting, match=r"stream\.tokens must be >= 1, got 0"):
        StreamSize(1, 0)
    with pytest.raises(InvalidSetting, match="split must be one of"):
        draw_stream(CONSTANTS, LOSSES, SIZE, "exam", 0)
