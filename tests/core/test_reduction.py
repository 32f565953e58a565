"""Orders of visual tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import qr

from covspec_core.errors import InvalidSetting
from covspec_core.reduction import (
    METHODS,
    REDUCTIONS,
    ReductionSettings,
    VisualStates,
    activity,
    merge,
    merging,
    reduction,
)
from covspec_core.reduction.signals import ACTIVITY_WEIGHT, RELEVANCE_WEIGHT

SEEDS = (0, 1, 2)
BLIND = ("random", "none", "uniform")
"""Reductions that look at no state."""
ABLATIONS = {
    "relevance and activity": ReductionSettings(cover=False),
    "relevance and cover": ReductionSettings(activity=0.0),
    "activity and cover": ReductionSettings(relevance=0.0),
    "equal weights": ReductionSettings(relevance=1.0, activity=1.0),
    "all attention": ReductionSettings("verifier_guided", attention_share=1.0),
}
EVERY = {name: ReductionSettings(name) for name in METHODS} | ABLATIONS


def states(seed: int = 0, n: int = 144, hidden: int = 24) -> VisualStates:
    rng = np.random.default_rng(seed)
    early, deep, features = rng.normal(size=(3, n, hidden))
    relevance, received, verifier = rng.dirichlet(np.ones(n), size=3)
    return VisualStates(relevance, early, deep, features, received, verifier)


def order(chosen: str | ReductionSettings, given: VisualStates, seed: int = 0) -> np.ndarray:
    return reduction(chosen)(given, np.random.default_rng(seed))


def mapped(given: VisualStates, **changes) -> VisualStates:
    """States with some signals passed through functions."""
    return replace(given, **{name: f(getattr(given, name)) for name, f in changes.items()})


def rows(given: VisualStates, index: np.ndarray) -> VisualStates:
    """The same tokens in another order, or some of them several times."""
    names = ("relevance", "early", "deep", "features", "received", "verifier")
    return VisualStates(**{name: getattr(given, name)[index] for name in names})


def rotation(size: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(9).normal(size=(size, size)))[0]


def zeros(n: int = 9) -> VisualStates:
    none, flat = np.zeros(n), np.zeros((n, 4))
    return VisualStates(none, flat, flat, flat, none, none)


HIDDEN = ("early", "deep", "features")
ATTENTION = ("relevance", "received", "verifier")


def all_mapped(given: VisualStates, names: tuple[str, ...], f) -> VisualStates:
    """States with the same function on several signals."""
    return mapped(given, **dict.fromkeys(names, f))


EXTREMES = {
    "nothing but zeros": zeros(),
    "constant states": all_mapped(zeros(), HIDDEN, np.ones_like),
    "one token": states(n=1),
    "one token of zeros": zeros(1),
    "two tokens": states(n=2),
    "all tokens alike": rows(states(), np.zeros(10, dtype=int)),
    "every token twice": rows(states(n=20), np.arange(40) // 2),
    "no attention": all_mapped(states(), ATTENTION, np.zeros_like),
    "all attention on one": all_mapped(states(n=9), ATTENTION, lambda x: np.eye(9)[4]),
    "huge states": all_mapped(states(), HIDDEN, lambda x: 1e18 * x),
    "tiny states": all_mapped(states(), HIDDEN, lambda x: 1e-18 * x),
    "single precision": all_mapped(states(), (*HIDDEN, *ATTENTION), np.float32),
    "more tokens than a square": states(n=150),
    "a prime number of tokens": states(n=13),
}


@pytest.mark.parametrize("chosen", EVERY.values(), ids=EVERY)
class TestEveryReduction:
    """What holds for all, at their defaults and at other settings."""

    @pytest.mark.parametrize("hidden", [4, 24, 300])
    def test_gives_a_permutation_so_that_keeps_nest(self, chosen, hidden):
        got = order(chosen, states(hidden=hidden))
        assert got.dtype == np.int64
        assert sorted(got) == list(range(144))

    @pytest.mark.parametrize("given", EXTREMES.values(), ids=EXTREMES)
    def test_bears_extremes(self, chosen, given):
        assert sorted(order(chosen, given)) == list(range(given.n_visual))

    @pytest.mark.parametrize("given", EXTREMES.values(), ids=EXTREMES)
    def test_equal_inputs_and_seeds_give_equal_orders(self, chosen, given):
        np.testing.assert_array_equal(order(chosen, given), order(chosen, given))

    def test_draws_from_its_generator_only_if_it_is_random(self, chosen):
        same = (order(chosen, states(), 0) == order(chosen, states(), 1)).all()
        assert same == (chosen.name != "random")

    def test_leaves_its_input_as_it_was(self, chosen):
        given, untouched = states(), states()
        order(chosen, given)
        for name in ("relevance", "early", "deep", "features", "received", "verifier"):
            np.testing.assert_array_equal(getattr(given, name), getattr(untouched, name))

    @pytest.mark.parametrize("seed", SEEDS)
    def test_follows_tokens_wherever_they_lie_unless_it_goes_by_places(self, chosen, seed):
        if chosen.name in BLIND or chosen.name == "verifier_guided":
            return
        given, shuffle = states(seed, hidden=200), np.random.default_rng(seed).permutation(144)
        moved = order(chosen, rows(given, shuffle))
        # Centred states sum to zero, so the two that cover is left with are equally new: a tie.
        known = len(moved) - 2 if chosen.name == "cover" else len(moved)
        np.testing.assert_array_equal(shuffle[moved][:known], order(chosen, given)[:known])

    def test_sees_the_states_unless_it_is_blind(self, chosen):
        blind = (order(chosen, states(0)) == order(chosen, states(1))).all()
        assert blind == (chosen.name in BLIND)


TURN = rotation(24)
WEIGHED = ("covspec", "relevance", "activity", "cover")
LENGTHS = np.random.default_rng(5).uniform(0.1, 9.0, size=(144, 1))
SAME = [
    ("relevance", {"relevance": np.sqrt}, "a rank of attention"),
    ("relevance", {"early": np.abs, "deep": np.exp}, "nothing but attention"),
    ("activity", {"early": lambda x: x * LENGTHS, "deep": lambda x: x / LENGTHS}, "an angle"),
    ("activity", {"relevance": np.sqrt}, "no attention"),
    ("cover", {"relevance": np.sqrt, "early": np.exp}, "the deep states alone"),
    ("cover", {"deep": lambda x: 3 * x + 7}, "places and scale of the deep states aside"),
    *((name, dict.fromkeys(("early", "deep"), lambda x: x @ TURN), "turned") for name in WEIGHED),
    *((name, {"relevance": lambda x: 5 * x + 2}, "standard scores") for name in WEIGHED),
    ("divprune", {"features": lambda x: x * LENGTHS}, "directions"),
    ("divprune", {"features": lambda x: x @ TURN}, "turned directions"),
    ("divprune", {"relevance": np.sqrt, "deep": np.exp, "received": np.sqrt}, "features alone"),
    ("visionzip", {"received": np.sqrt}, "a rank of attention"),
    ("visionzip", {"relevance": np.sqrt, "deep": np.exp, "features": np.exp}, "attention alone"),
    ("verifier_guided", {"verifier": lambda x: 7 * x}, "a share of the mass"),
    ("verifier_guided", {"relevance": np.sqrt, "deep": np.exp}, "the target's attention alone"),
]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "changes", "why"), SAME, ids=lambda x: x if type(x) is str else ""
)
def test_a_reduction_sees_what_its_formula_sees_and_no_more(name, changes, why, seed):
    given = states(seed)
    got = order(name, mapped(given, **changes))
    np.testing.assert_array_equal(got, order(name, given), err_msg=why)


def plain_covspec(given: VisualStates) -> np.ndarray:
    """The formula at its default weights, written out once more."""

    def score(values):
        spread = values.std()
        return (values - values.mean()) / (spread if spread > 0 else 1.0)

    salient = RELEVANCE_WEIGHT * score(given.relevance) + ACTIVITY_WEIGHT * score(activity(given))
    weighted = np.logaddexp(0.0, salient)[:, None] * (given.deep - given.deep.mean(axis=0))
    triangle, pivots = qr(weighted.T, mode="r", pivoting=True)
    steps = np.abs(np.diagonal(triangle))
    rank = int((steps > 1e-6 * max(steps[0], 1e-12)).sum())
    rest = pivots[rank:]
    return np.concatenate([pivots[:rank], rest[np.argsort(-salient[rest], kind="stable")]])


@pytest.mark.parametrize("hidden", [4, 80, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", SEEDS)
def test_covspec_at_its_defaults_is_what_it_always_was(seed, dtype, hidden):
    given = mapped(states(seed, hidden=hidden), relevance=dtype, early=dtype, deep=dtype)
    np.testing.assert_array_equal(order("covspec", given), plain_covspec(given))
    np.testing.assert_array_equal(REDUCTIONS["covspec"](given, None), plain_covspec(given))


@pytest.mark.parametrize(
    ("name", "relevance", "active", "cover"),
    [("relevance", 2.0, 0.0, False), ("activity", 0.0, 0.5, False), ("cover", 0.0, 0.0, True)],
)
def test_a_signal_alone_is_covspec_without_the_others(name, relevance, active, cover):
    alone = ReductionSettings("covspec", relevance, active, cover)
    np.testing.assert_array_equal(order(name, states()), order(alone, states()))


@pytest.mark.parametrize("name", METHODS)
def test_a_name_means_its_defaults(name):
    assert ReductionSettings.of(name) == ReductionSettings(name)
    assert ReductionSettings.of(ReductionSettings(name)) == ReductionSettings(name)


def test_signals_are_joined_at_their_usual_weights():
    assert ReductionSettings.of("relevance+activity+cover") == ReductionSettings("covspec")
    assert ReductionSettings.of("relevance+cover") == ReductionSettings(activity=0.0)
    assert ReductionSettings.of("activity+relevance") == ReductionSettings(cover=False)
    with pytest.raises(InvalidSetting, match=r"reduction joins .*got \['colour'\]"):
        reduction("colour+cover")


def test_every_weight_changes_the_order():
    found = {tuple(order(settings, states())) for settings in EVERY.values()}
    assert len(found) == len(EVERY)


def test_none_is_the_order_of_the_image():
    np.testing.assert_array_equal(order("none", states()), np.arange(144))


@pytest.mark.parametrize(("kept", "step"), [(9, 4), (36, 2), (144, 1)])
def test_uniform_begins_with_square_lattices(kept, step):
    places = np.stack(np.divmod(np.sort(order("uniform", states())[:kept]), 12), axis=1)
    lattice = np.arange(6 % step, 12, step)
    np.testing.assert_array_equal(places, [(y, x) for y in lattice for x in lattice])


@pytest.mark.parametrize("kept", range(4, 145, 7))
@pytest.mark.parametrize("side", [12, 16])
def test_uniform_leaves_no_quarter_of_the_image_out(kept, side):
    places = np.divmod(order("uniform", states(n=side * side))[: max(kept, 9)], side)
    quarters = np.unique(2 * (places[0] * 2 // side) + places[1] * 2 // side, return_counts=True)[1]
    assert len(quarters) == 4
    assert quarters.max() <= 4 * quarters.min()


@pytest.mark.parametrize("seed", SEEDS)
def test_divprune_takes_the_farthest_token_at_every_step(seed):
    given = states(seed, n=30, hidden=6)
    unit = given.features / np.linalg.norm(given.features, axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    got = order("divprune", given)
    assert got[0] == np.argmax([np.sort(row)[1] for row in distance])
    for k in range(1, 30):
        nearest = distance[:, got[:k]].min(axis=1)
        left = np.setdiff1d(np.arange(30), got[:k])
        assert nearest[got[k]] == pytest.approx(nearest[left].max())


def test_divprune_leaves_copies_to_the_end():
    twice = order("divprune", rows(states(n=20), np.arange(40) // 2))
    assert len(set(twice[:20] // 2)) == 20


def test_visionzip_goes_by_the_attention_received():
    given = states()
    assert (np.diff(given.received[order("visionzip", given)]) <= 0).all()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 1.0])
def test_the_verifiers_tokens_cover_their_share_and_the_rest_spreads_evenly(share):
    given = states()
    got = order(ReductionSettings("verifier_guided", attention_share=share), given)
    ranked = np.sort(given.verifier)[::-1]
    first = 0 if share == 0 else int(np.searchsorted(ranked.cumsum(), share - 1e-12)) + 1
    np.testing.assert_array_equal(given.verifier[got[:first]], ranked[:first])
    spread = order("uniform", given)
    np.testing.assert_array_equal(got[first:], spread[~np.isin(spread, got[:first])])


def test_without_attention_the_verifier_guides_nothing():
    given = replace(states(), verifier=np.zeros(144))
    np.testing.assert_array_equal(order("verifier_guided", given), order("uniform", given))


def test_a_copy_of_a_kept_token_comes_late():
    given = states(n=20, hidden=40)
    first = order("covspec", given)[0]
    copy = (first + 7) % 20
    index = np.arange(20)
    index[copy] = first
    got = order("covspec", rows(given, index)).tolist()
    assert min(map(got.index, [first, copy])) == 0
    assert max(map(got.index, [first, copy])) >= 18


@pytest.mark.parametrize("name", ["covspec", "cover"])
def test_the_first_tokens_span_what_all_tokens_span(name):
    kinds = np.random.default_rng(3).normal(size=(4, 16))
    deep = kinds[np.arange(40) % 4]
    kept = order(name, VisualStates(np.ones(40), deep, deep))[:3]  # centring takes one dimension
    assert len(set(kept % 4)) == 3


@pytest.mark.parametrize("name", ["covspec", "relevance"])
def test_of_equally_unlike_tokens_the_relevant_ones_come_first(name):
    relevance = np.zeros(12)
    relevance[[2, 7, 9]] = 1.0
    given = VisualStates(relevance, np.eye(12), np.eye(12))
    assert set(order(name, given)[:3]) == {2, 7, 9}


def test_activity_is_the_angle_between_the_layers():
    early = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    deep = np.array([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    given = VisualStates(np.ones(3), early, deep)
    np.testing.assert_allclose(activity(given), [0.0, 1.0, 2.0])
    assert order("activity", given).tolist() == [2, 1, 0]


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(InvalidSetting, match=r"'covspec', 'random', 'none'.*'best'"):
        reduction("best")


@pytest.mark.parametrize(
    ("name", "signal"),
    [("divprune", "features"), ("visionzip", "received"), ("verifier_guided", "verifier")],
)
def test_a_signal_that_is_missing_is_named(name, signal):
    with pytest.raises(InvalidSetting, match=rf"reduction {name} needs the .*\({signal}\)"):
        order(name, replace(states(), **{signal: None}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"relevance": -1.0}, r"reduction.relevance must be finite and >= 0, got -1.0"),
        ({"activity": np.inf}, r"reduction.activity must be finite"),
        ({"relevance": 0.0, "activity": 0.0, "cover": False}, "needs a signal"),
        ({"attention_share": 1.5}, r"attention_share must lie in \[0, 1\], got 1.5"),
        ({"early_layer": 2, "deep_layer": 2}, "early_layer < deep_layer, got 2 and 2"),
        ({"early_layer": -1}, "early_layer < deep_layer"),
        ({"deep_layer": 0}, "early_layer < deep_layer, got 1 and 0"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(values, said):
    with pytest.raises(InvalidSetting, match=said):
        ReductionSettings(**values)


@pytest.mark.parametrize("name", ["relevance", "features", "received", "verifier"])
def test_shapes_that_do_not_fit_are_refused(name):
    with pytest.raises(InvalidSetting, match=name):
        replace(states(), **{name: np.ones(3)})


KEEPS = (0, 1, 3, 12, 36, 100, 143, 144)


@pytest.mark.parametrize("chosen", EVERY.values(), ids=EVERY)
class TestMergingBehindEveryReduction:
    """Merging is an option of all."""

    @pytest.mark.parametrize("keep", KEEPS)
    def test_keeps_as_many_tokens_and_mixes_with_weights_that_sum_to_one(self, chosen, keep):
        merged = merge(states(), order(chosen, states()), keep)
        assert merged.kept.shape == (keep,)
        assert (np.diff(merged.kept) > 0).all()
        assert merged.weights.shape == (keep, 144)
        assert (merged.weights >= 0).all()
        np.testing.assert_allclose(merged.weights.sum(axis=1), 1.0, atol=1e-12)

    @pytest.mark.parametrize("given", EXTREMES.values(), ids=EXTREMES)
    def test_bears_extremes(self, chosen, given):
        for keep in {0, 1, given.n_visual // 2, given.n_visual}:
            merged = merge(given, order(chosen, given), keep)
            assert np.isfinite(merged.weights).all()
            assert len(set(merged.kept)) == keep

    def test_leaves_the_dominant_tokens_as_they_are(self, chosen):
        first = order(chosen, states())
        merged = merge(states(), first, 64)
        places = {token: row for row, token in enumerate(merged.kept)}
        for token in first[:54]:
            np.testing.assert_array_equal(merged.weights[places[token]], np.eye(144)[token])

    def test_keeping_all_changes_nothing(self, chosen):
        merged = merge(states(), order(chosen, states()), 144)
        np.testing.assert_array_equal(merged.weights, np.eye(144))

    def test_no_share_is_the_plain_prefix(self, chosen):
        first = order(chosen, states())
        merged = merge(states(), first, 12, share=0.0)
        np.testing.assert_array_equal(merged.kept, np.sort(first[:12]))
        np.testing.assert_array_equal(merged.weights, np.eye(144)[merged.kept])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("keep", [7, 24, 70])
def test_every_dropped_token_joins_the_anchor_it_resembles_most(seed, keep):
    given, n = states(seed, n=80), 80
    first = order("visionzip", given, seed)
    contextual = round(10 / 64 * keep)
    rest = sorted(int(token) for token in first[keep - contextual :])
    anchors = [rest[i * len(rest) // contextual] for i in range(contextual)]
    unit = given.features / np.linalg.norm(given.features, axis=1, keepdims=True)
    members = {anchor: [] for anchor in anchors}
    for token in rest:
        if token not in members:
            members[max(anchors, key=lambda a: float(unit[a] @ unit[token]))].append(token)
    merged = merge(given, first, keep)
    mixed = dict(zip(merged.kept.tolist(), merged.weights @ given.features, strict=True))
    for anchor, own in members.items():
        alone = given.features[anchor]
        expected = (alone + given.features[own].mean(axis=0)) / 2 if own else alone
        np.testing.assert_allclose(mixed[anchor], expected, atol=1e-12)
    assert sum(map(len, members.values())) == n - keep


def test_merging_needs_input_vectors():
    with pytest.raises(InvalidSetting, match="merging needs input vectors"):
        merge(replace(states(), features=None), np.arange(144), 12)


def test_merging_is_off_unless_asked_for():
    assert all(merging(name) is None for name in METHODS)
    asked = ReductionSettings.of("visionzip+merging")
    assert asked == ReductionSettings("visionzip", contextual_share=10 / 64)
    assert ReductionSettings.of("relevance+cover+merging") == ReductionSettings(
        activity=0.0, contextual_share=10 / 64
    )
    np.testing.assert_array_equal(order(asked, states()), order("visionzip", states()))
    found, plain = merging(asked)(states(), np.arange(144), 32), merge(states(), np.arange(144), 32)
    np.testing.assert_array_equal(found.weights, plain.weights)
    with pytest.raises(InvalidSetting, match=r"contextual_share must lie in \[0, 1\], got 1.5"):
        ReductionSettings(contextual_share=1.5)
