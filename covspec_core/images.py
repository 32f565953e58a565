"""Images on their way from the phone to both models."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from covspec_core.errors import UnreadableImage
from covspec_core.live import Request
from covspec_core.wire import HEADER

LONGEST_SIDE = 448
"""Pixels to which larger images are scaled before they travel (InternVL's tile)."""
JPEG_QUALITY = 90


def load_image(path: Path | str) -> Image.Image:
    """The first frame of any image that Pillow reads, as RGB.

    Raises:
        UnreadableImage: If the file is missing, truncated or no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
                return image.convert("RGB")
    except FileNotFoundError as error:
        raise UnreadableImage(f"there is no image at {path}") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{path} is no image that Pillow reads") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path} cannot be read as an image: {error}") from error


def make_request(image: Image.Image, question: str, key: int, tokens: int | None = None) -> Request:
    """A request as both sides see it: the image is what its JPEG decodes to.

    Args:
        image: RGB image of any size.
        question: Text.
        key: Noise key that decides every draw.
        tokens: Length of the recorded answer, if there is one.
    """
    scaled = image.copy()
    scaled.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    # Full chroma resolution: small coloured things would lose their colour otherwise.
    scaled.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    size = HEADER.size + len(buffer.getvalue()) + len(question.encode())
    return Request(Image.open(buffer).convert("RGB"), size, question, key, tokens)
