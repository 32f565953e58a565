"""Images of every size and mode on their way to the models: one behaviour or one error each."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from covspec_core.errors import InvalidRequest, UnreadableImage
from covspec_core.images import LONGEST_SIDE, as_rgb, load_image, make_request
from covspec_core.models.hf import HFModel
from tests.core.tiny import BUILDERS, save

QUESTION = "what is this"
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
NEAR = 12
"""Most that a JPEG changes a flat colour."""


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def model(request, tmp_path_factory):
    return HFModel(save(request.param, tmp_path_factory.mktemp(request.param)))


def written(folder, image, suffix, **options):
    path = folder / f"image.{suffix}"
    image.save(path, **options)
    return path


def near(image, x, y, colour):
    return np.abs(np.subtract(image.getpixel((x, y)), colour)).max() <= NEAR


def halves(size, left=RED, right=BLUE, mode="RGB"):
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, max(1, size[0] // 2), size[1]))
    return image


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (10_000, 80), (3, 3), (448, 3), (4, 2)])
def test_every_size_reaches_the_models(model, tmp_path, size):
    request = make_request(load_image(written(tmp_path, halves(size), "png")), QUESTION, 0)
    assert max(request.image.size) <= LONGEST_SIDE
    prompt = model.prompt(request.image, QUESTION)
    assert len(prompt.visual) == len(prompt.features)
    assert np.isfinite(model.prefill(prompt)[1].logits).all()


def test_a_shape_that_a_model_cannot_take_is_named(model):
    request = make_request(Image.new("RGB", (10_000, 3)), QUESTION, 0)
    assert request.image.size == (448, 1)
    if model._config.model_type != "qwen2_5_vl":
        assert np.isfinite(model.prefill(model.prompt(request.image, QUESTION))[1].logits).all()
        return
    with pytest.raises(InvalidRequest, match=r"takes no image of 448 x 1 pixels: .*ratio"):
        model.prompt(request.image, QUESTION)


def test_three_rows_of_pixels_are_not_taken_for_three_colours(tmp_path):
    model = HFModel(save("internvl", tmp_path))  # squeezes any shape into a square
    narrow = halves((64, 3))
    tall = narrow.resize((64, 64), Image.Resampling.NEAREST)
    one, other = (model.prompt(image, QUESTION).features for image in (narrow, tall))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_an_image_of_many_pixels_travels_small():
    request = make_request(halves((10_000, 2_000)), QUESTION, 0)
    assert request.image.size == (448, 90)
    assert request.image_bytes < 20_000


def test_no_pixels_are_refused():
    with pytest.raises(InvalidRequest, match="must have pixels, got 0 x 5"):
        make_request(Image.new("RGB", (0, 5)), QUESTION, 0)


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("CMYK", (0, 255, 255, 0), RED),
        ("L", 128, (128, 128, 128)),
        ("1", 1, WHITE),
        ("LA", (128, 255), (128, 128, 128)),
        ("RGBA", (0, 0, 255, 255), BLUE),
        ("RGBA", (0, 0, 255, 0), WHITE),
        ("LA", (0, 0), WHITE),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("YCbCr", (76, 85, 255), (254, 0, 0)),
        ("HSV", (0, 255, 255), RED),
    ],
    ids=str,
)
def test_modes_are_seen_as_a_viewer_shows_them(mode, colour, seen):
    image = Image.new(mode, (16, 16), colour)
    assert near(as_rgb(image), 8, 8, seen)
    assert near(make_request(image, QUESTION, 0).image, 8, 8, seen)


def test_a_cmyk_jpeg_loads(tmp_path):
    path = written(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpg")
    assert near(load_image(path), 8, 8, RED)


@pytest.mark.parametrize("transparency", [0, b"\0\xff"], ids=["one colour", "a table"])
def test_what_a_palette_hides_is_white(tmp_path, transparency):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([*RED, *BLUE])
    image.paste(0, (0, 0, 8, 16))
    loaded = load_image(written(tmp_path, image, "png", transparency=transparency))
    assert near(loaded, 2, 8, WHITE)
    assert near(loaded, 12, 8, BLUE)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_counts(tmp_path, suffix):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    path = written(
        tmp_path, frames[0], suffix, save_all=True, append_images=frames[1:], duration=50
    )
    assert Image.open(path).n_frames == 2
    assert near(load_image(path), 8, 8, RED)


@pytest.mark.parametrize("value", [0, 32_896, 65_535])
def test_sixteen_bits_become_eight(tmp_path, value):
    image = Image.fromarray(np.full((8, 8), value, dtype=np.uint16))
    assert load_image(written(tmp_path, image, "png")).getpixel((4, 4)) == (value // 257,) * 3


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_without_a_known_white_are_refused(tmp_path, dtype):
    image = Image.fromarray(np.full((8, 8), 1, dtype=dtype))
    path = written(tmp_path, image, "tiff")
    with pytest.raises(UnreadableImage, match=r"image\.tiff .*which value is white"):
        load_image(path)


def test_an_image_is_turned_as_the_camera_says_and_once_only(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: top is at the right
    loaded = load_image(written(tmp_path, halves((64, 32)), "jpg", exif=exif))
    assert loaded.size == (32, 64)
    assert near(loaded, 16, 4, RED)
    assert make_request(loaded, QUESTION, 0).image.size == (32, 64)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_file_is_one_clear_error(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = written(tmp_path, Image.fromarray(noise), suffix)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UnreadableImage, match=path.name):
        load_image(path)


def test_more_pixels_than_memory_allows_are_refused(tmp_path):
    header = io.BytesIO()
    Image.new("1", (1, 1)).save(header, "PNG")
    data = bytearray(header.getvalue())
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(bytes(data))
    with pytest.raises(UnreadableImage, match=r"bomb\.png cannot be read"):
        load_image(tmp_path / "bomb.png")


def test_what_is_no_image_is_said(tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    with pytest.raises(UnreadableImage, match="is no image that Pillow reads"):
        load_image(tmp_path / "notes.png")
    with pytest.raises(UnreadableImage, match="there is no image at"):
        load_image(tmp_path / "nothing.png")
    with pytest.raises(UnreadableImage, match="cannot be read"):
        load_image(tmp_path)
