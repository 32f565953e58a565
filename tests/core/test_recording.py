"""Recordings survive the disk, and whatever is damaged is named."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from covspec_core.blocks import Sampler
from covspec_core.edge import Edge
from covspec_core.errors import BrokenRecording, InvalidAction, InvalidSetting
from covspec_core.recorder import Job, read, record
from covspec_core.recording import (
    FORMAT,
    LATER_COLUMNS,
    LEVEL_COLUMNS,
    REQUEST_COLUMNS,
    SPLITS,
    TOKEN_COLUMNS,
    Recording,
    load_recording,
)
from covspec_core.replay import ReplaySource
from covspec_core.request import Request
from covspec_core.verification import Truncation, entropy, law, margin, overlap
from covspec_core.wire import protocol
from tests.core.conftest import (
    LEVELS,
    LIMIT,
    kind_of,
    make_pair,
    make_recording,
    make_requests,
)
from tests.core.toys import ToyModel

COLUMNS = [field.name for field in fields(Recording) if field.name != "meta"]


@pytest.fixture(scope="module")
def mixed():
    """Requests of all three splits, in no order."""
    splits = ["test", "train", "validation", "train", "test", "train"]
    jobs = [Job(r, s, i) for i, (r, s) in enumerate(zip(make_requests(6), splits, strict=True))]
    return record(make_pair(), jobs, LEVELS, 1.0, 15, {"pair": "toy"})


@pytest.fixture
def path(mixed, tmp_path):
    path = tmp_path / "folder" / "toy.npz"
    mixed.save(path)
    return path


def rewrite(path: Path, **changes):
    """Write the file anew with some of its columns changed, or dropped where ``None``."""
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: column for name, column in columns.items() if column is not None})


def test_a_saved_recording_loads_as_it_was(mixed, path):
    loaded = load_recording(path)
    assert loaded.meta == mixed.meta
    for name in COLUMNS:
        one, other = getattr(loaded, name), getattr(mixed, name)
        np.testing.assert_array_equal(one, other, err_msg=name)
        assert one.dtype == other.dtype
    assert [file.name for file in path.parent.iterdir()] == ["toy.npz"]


def test_saving_replaces_an_older_file_and_takes_text_paths_back(mixed, path):
    mixed.only("train").save(path)
    assert len(load_recording(str(path)).length) == 3


def test_a_recording_holds_what_the_models_think_at_the_true_prefix(mixed):
    pair, request = make_pair(), make_requests(6)[0]
    tokens = mixed.tokens[: mixed.length[0]]
    seen = (request.question, 12)
    for t, token in enumerate(tokens):
        p = law(pair.target.logits(seen, tokens[:t].tolist()), 1.0)
        assert mixed.p[t] == pytest.approx(p[token], rel=1e-6)
        for level, keep in enumerate(LEVELS):
            q = law(pair.draft.logits((request.question, round(12 * keep)), tokens[:t].tolist()), 1)
            assert mixed.q[level, t] == pytest.approx(q[token], rel=1e-6)
            for name, value in (
                ("margin", margin(q)),
                ("entropy", entropy(q)),
                ("overlap", overlap(p, q)),
            ):
                assert getattr(mixed, name)[level, t] == pytest.approx(value, rel=1e-3, abs=1e-3)
            order = sorted(range(len(q)), key=lambda x: (-q[x], x))
            assert order.index(token) == mixed.rank[level, t]
            assert (mixed.draw[level, t] == token) == (mixed.rank_shared[level, t] == 0)


@pytest.mark.parametrize("split", SPLITS)
def test_only_keeps_the_requests_of_a_split_with_all_their_columns(mixed, split):
    part = mixed.only(split)
    chosen = [r for r in range(6) if mixed.split[r] == SPLITS.index(split)]
    for r, own in enumerate(chosen):
        for name in ("questions", *REQUEST_COLUMNS):
            one, other = getattr(part, name)[r], getattr(mixed, name)[own]
            np.testing.assert_array_equal(one, other)
        here = slice(part.start[r], part.start[r] + part.length[r])
        there = slice(mixed.start[own], mixed.start[own] + mixed.length[own])
        for name in TOKEN_COLUMNS:
            np.testing.assert_array_equal(getattr(part, name)[here], getattr(mixed, name)[there])
        for name in LEVEL_COLUMNS:
            one, other = getattr(part, name)[:, here], getattr(mixed, name)[:, there]
            np.testing.assert_array_equal(one, other)
    assert len(part.length) == len(chosen)


def test_only_refuses_a_split_without_requests_and_one_that_does_not_exist(mixed):
    with pytest.raises(BrokenRecording, match="'test'"):
        mixed.only("train").only("test")
    with pytest.raises(BrokenRecording, match=r"train.*validation.*test.*'dev'"):
        mixed.only("dev")


def assert_broken(path, match=None):
    with pytest.raises(BrokenRecording, match=match) as caught:
        load_recording(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_broken(tmp_path):
    assert_broken(tmp_path / "none.npz")


def test_a_folder_is_broken(tmp_path):
    assert_broken(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_broken(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert_broken(path)


@pytest.mark.parametrize("place", [0.1, 0.4, 0.7])
def test_a_file_with_overwritten_bytes_is_broken(path, place):
    data = bytearray(path.read_bytes())
    start = int(place * len(data))
    data[start : start + 64] = bytes(byte ^ 0xFF for byte in data[start : start + 64])
    path.write_bytes(data)
    assert_broken(path)


@pytest.mark.parametrize("content", [b"", b"tokens,q\n1,0.5\n", b"PK\x03\x04 no zip", b"\x80\x04."])
def test_a_file_of_another_kind_is_broken(path, content):
    path.write_bytes(content)
    assert_broken(path)


def test_a_single_array_is_broken(path):
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    assert_broken(path)


def test_a_file_of_another_format_is_broken(mixed, path):
    rewrite(path, meta=np.array(json.dumps(mixed.meta | {"format": 1})))
    assert_broken(path, f"format must be {FORMAT}, got 1; record it anew")


@pytest.mark.parametrize("meta", ["", "[]", "{}", '{"format": 3}', "no json", "7"])
def test_a_file_with_damaged_provenance_is_broken(path, meta):
    rewrite(path, meta=np.array(meta))
    assert_broken(path)


@pytest.mark.parametrize("name", ["meta", *sorted(set(COLUMNS) - LATER_COLUMNS)])
def test_a_file_without_one_of_its_columns_is_broken(path, name):
    rewrite(path, **{name: None})
    assert_broken(path, name)


@pytest.mark.parametrize("name", sorted(LATER_COLUMNS))
def test_an_older_file_loads_without_a_later_column_and_says_so_when_asked(path, name):
    rewrite(path, **{name: None})
    older = load_recording(path).only("train")
    older.save(path)
    assert getattr(load_recording(path), name) is None
    with pytest.raises(BrokenRecording, match=f"must hold column '{name}'; record it anew"):
        older.column(name)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_file_with_a_column_of_the_wrong_shape_is_broken(path, name):
    with np.load(path) as file:
        column = file[name]
    rewrite(path, **{name: column[..., :-1]})
    told = {"length": "tokens"}  # lengths give away the tokens
    assert_broken(path, told.get(name, name))


def test_a_file_with_another_number_of_keep_levels_is_broken(mixed, path):
    rewrite(path, meta=np.array(json.dumps(mixed.meta | {"keep_levels": [0.0, 1.0]})))
    assert_broken(path, "must have shape")


def test_a_column_added_later_does_not_break_loading(mixed, path):
    rewrite(path, predicted=np.zeros(mixed.q.shape, np.float16))
    np.testing.assert_array_equal(load_recording(path).q, mixed.q)


def test_an_unknown_keep_level_is_refused_with_the_recorded_ones(mixed):
    source = ReplaySource(mixed, protocol("coupled"), 2)
    rows = np.arange(2)
    source.begin(rows, rows.astype(np.uint64))
    with pytest.raises(InvalidAction, match=r"recorded level \(0, 0\.5, 1\), got 0\.25"):
        source.prefill(rows, np.array([0.5, 0.25]))


@pytest.mark.parametrize("keep", [1 / 12, 1 / 3])
def test_levels_that_are_no_round_numbers_are_found_again(mixed, keep):
    meta = mixed.meta | {"keep_levels": [float(f"{keep:.9f}"), 0.5, 1.0]}
    source = ReplaySource(replace(mixed, meta=meta), protocol("coupled"), 1)
    source.begin(np.array([0]), np.array([0], dtype=np.uint64))
    source.texts["base"] = -1
    source.prefill(np.array([0]), np.array([keep]))
    assert source.texts["base"] == source.texts["first"]  # the first level


class HighIds(ToyModel):
    """A large vocabulary of which only the end is used."""

    def logits(self, seen, text):
        logits = super().logits(seen, text)
        logits[70_000:] += 30
        return logits


def test_token_ids_beyond_16_bits_are_recorded_as_they_are():
    model = HighIds(vocab_size=70_010)
    pair = replace(make_pair(), draft=model, target=model, head=None)
    request = Request(None, 100, "long?", 5)
    recording = record(pair, [Job(request, "train")], LEVELS, 1.0, 4, {})
    edge = Edge(model, protocol("coupled"))
    edge.start(model.prompt(None, request.question), Sampler(request.key, 1.0, shared=True))
    written = edge.decode([], 4)
    assert max(written) >= 2**16
    assert recording.tokens.tolist() == written
    assert recording.draw[-1].tolist() == written


def test_a_recording_holds_which_redraws_the_largest_entries_settle(pair, requests):
    request = requests[0]
    wide = record(pair, [Job(request, "train")], LEVELS, 1.0, LIMIT, {}, top=6)
    np.testing.assert_array_equal(wide.settled, 1.0)
    narrow = record(pair, [Job(request, "train")], LEVELS, 1.0, LIMIT, {}, top=2)
    reading = read(pair, request, LEVELS, 1.0, LIMIT)
    for level, outputs in enumerate(reading.drafts):
        for t, (target, token) in enumerate(zip(reading.target, reading.tokens, strict=True)):
            draft = law(outputs.logits[t], 1.0)
            excess = np.maximum(target - draft, 0)
            top = sorted(range(6), key=lambda token: -target[token])[:2]
            known = 1 - sum(min(target[i], draft[i]) for i in top)
            expected = excess.sum() / known if token in top else 0.0
            assert narrow.settled[level, t] == pytest.approx(expected, abs=1e-6)


def test_protocols_that_a_recording_cannot_tell_are_refused(pair, requests):
    recording = make_recording(pair, requests, 1.0)
    greedy = make_recording(pair, requests, 0.0)
    for name in ("full fp16", "full top_k", "lazy fp16", "decoupled fp16"):
        with pytest.raises(InvalidSetting, match="law_format must be fp32 in a replay"):
            ReplaySource(recording, kind_of(name), 1)
        ReplaySource(greedy, kind_of(name), 1)  # one token's law is the same in every format
    with pytest.raises(BrokenRecording, match="top must be 2 as in the recording, got 3"):
        ReplaySource(recording, protocol("progressive", top=3), 1)
    older = replace(recording, settled=None)
    with pytest.raises(BrokenRecording, match="'settled'"):
        ReplaySource(older, kind_of("progressive"), 1)
    ReplaySource(older, kind_of("lazy"), 1)


def test_truncated_answers_are_recorded_and_told_apart(pair, requests):
    truncation = Truncation(2, 0.9)
    jobs = [Job(request, "train") for request in requests[:4]]
    cut = record(pair, jobs, LEVELS, 1.0, LIMIT, {}, truncation=truncation)
    cut.check_sampling(1.0, truncation)
    for temperature, other in ((0.5, truncation), (1.0, Truncation(2)), (1.0, Truncation())):
        with pytest.raises(BrokenRecording, match=r"made with .*'top_k'"):
            cut.check_sampling(temperature, other)
    assert (cut.p >= 0.5 * 0.9 - 1e-6).mean() > 0.5
    assert (cut.q == 0).any()
