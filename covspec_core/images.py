"""Images on their way from the phone to both models."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from covspec_core.errors import InvalidRequest, UnreadableImage
from covspec_core.request import Request
from covspec_core.wire import HEADER

LONGEST_SIDE = 448
"""Pixels to which larger images are scaled before they travel (InternVL's tile)."""
JPEG_QUALITY = 90


def as_rgb(image: Image.Image) -> Image.Image:
    """A Pillow image of any mode as a viewer shows it.

    Turned as the camera says, transparent parts on white, 16 bits a pixel scaled to 8.

    Raises:
        UnreadableImage: If the mode does not say which value is white.
    """
    if image.mode in ("I", "F"):
        raise UnreadableImage(
            f"an image must say which value is white, one of mode {image.mode!r} does not; "
            "convert it to 8 or 16 bits"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), seen)
    return image.convert("RGB")


def load_image(path: Path | str) -> Image.Image:
    """The first frame of any image that Pillow reads, as :func:`as_rgb` makes it.

    Raises:
        UnreadableImage: If the file is missing, truncated or no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
                return as_rgb(image)
    except FileNotFoundError as error:
        raise UnreadableImage(f"there is no image at {path}") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{path} is no image that Pillow reads") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path} cannot be read as an image: {error}") from error


def make_request(image: Image.Image, question: str, key: int, tokens: int | None = None) -> Request:
    """A request as both sides see it: the image is what its JPEG decodes to.

    Args:
        image: Of any size and mode.
        question: Text.
        key: Noise key that decides every draw.
        tokens: Length of the recorded answer, if there is one.

    Raises:
        InvalidRequest: If the image has no pixels.
        UnreadableImage: If its mode does not say which value is white.
    """
    if 0 in image.size:
        raise InvalidRequest(f"an image must have pixels, got {image.width} x {image.height}")
    scaled = as_rgb(image)
    scaled.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    # Full chroma resolution: small coloured things would lose their colour otherwise.
    scaled.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    size = HEADER.size + len(buffer.getvalue()) + len(question.encode())
    return Request(Image.open(buffer).convert("RGB"), size, question, key, tokens)
