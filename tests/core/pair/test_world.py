"""Scenes and pictures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.pair.render import RGB, render
from covspec_core.pair.world import (
    CELL_SIDE,
    COLOURS,
    HELD_OUT_PAIRS,
    RARE_COLOURS,
    RARE_SHAPES,
    SHAPES,
    SPLITS,
    draw_scene,
    seed_of,
)


def scenes(split: str, n: int = 200):
    return [draw_scene(split, index) for index in range(n)]


def test_equal_seeds_draw_equal_scenes_and_pictures():
    for index in range(20):
        assert draw_scene("test", index) == draw_scene("test", index)
        first, second = (np.asarray(render(draw_scene("test", index))) for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_no_two_splits_share_a_seed():
    for first, second in itertools.combinations(SPLITS.values(), 2):
        assert first.seeds.stop <= second.seeds.start or second.seeds.stop <= first.seeds.start


@pytest.mark.parametrize(("split", "index"), [("exam", 0), ("test", -1), ("test", 1_000_000)])
def test_an_unknown_split_or_index_is_refused(split, index):
    with pytest.raises(InvalidSetting, match="exam" if split == "exam" else "0 to 999999"):
        seed_of(split, index)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_held_out_pairs_never_occur_in_distribution(split):
    looks = {(thing.shape, thing.colour) for scene in scenes(split, 2000) for thing in scene.things}
    assert not looks & HELD_OUT_PAIRS
    usual = {look for look in looks if look[0] in SHAPES and look[1] in COLOURS}
    assert len(usual) == len(SHAPES) * len(COLOURS) - len(HELD_OUT_PAIRS)


def test_every_scene_of_a_special_split_has_what_makes_it_special():
    for scene in scenes("combinations"):
        assert any((thing.shape, thing.colour) in HELD_OUT_PAIRS for thing in scene.things)
    for scene in scenes("rare"):
        assert any(
            thing.shape in RARE_SHAPES or thing.colour in RARE_COLOURS for thing in scene.things
        )
    assert all(7 <= len(scene.things) <= 9 for scene in scenes("crowded"))
    assert all(thing.size != "large" for scene in scenes("subtle") for thing in scene.things)


@pytest.mark.parametrize("split", SPLITS)
def test_things_stand_alone_in_their_cell_and_inside_the_picture(split):
    for scene in scenes(split):
        cells = [thing.cell for thing in scene.things]
        assert cells == sorted(set(cells))
        for thing in scene.things:
            assert divmod(thing.cell, 3) == (thing.y_px // CELL_SIDE, thing.x_px // CELL_SIDE)
            for centre in (thing.x_px, thing.y_px):
                assert -2 <= centre - thing.radius_px <= centre + thing.radius_px <= 98


def test_a_thing_is_drawn_in_its_colour_at_its_centre():
    for scene in scenes("test"):
        pixels = np.asarray(render(scene))
        for thing in scene.things:
            if thing.shape in ("ring", "moon"):
                continue
            colour = thing.badge.colour if thing.badge else thing.colour
            got = pixels[int(thing.y_px), int(thing.x_px)].astype(int)
            assert np.abs(got - RGB[colour]).max() < 40, (thing, got)


def test_pictures_are_96_pixels_wide_and_high_in_rgb():
    picture = render(draw_scene("test", 0))
    assert (picture.size, picture.mode) == ((96, 96), "RGB")
