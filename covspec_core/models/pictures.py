"""From an image to the tiles that InternVL's encoder takes, without the library's wrappers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image


def unsupported_images(processor: Any) -> str | None:
    """Why images cannot be prepared without the library's processor, or ``None``."""
    kind = type(processor).__name__
    if kind != "GotOcr2ImageProcessorPil":
        return f"image processor must be 'GotOcr2ImageProcessorPil', got {kind!r}"
    if processor.crop_to_patches or not processor.do_resize:
        return "an image must become one tile by resizing alone"
    if not (processor.size.height and processor.size.width):
        return f"size must give height and width, got {processor.size}"
    return None


class Pictures:
    """Scales an image as Pillow does and looks every pixel up; see :func:`unsupported_images`.

    Scaling and normalising a value depends on nothing but the value and its channel, so the
    library's processor is asked once for all of them.

    Args:
        processor: Of the library.
    """

    def __init__(self, processor: Any) -> None:
        self._size = int(processor.size.width), int(processor.size.height)
        self._resample = Image.Resampling(int(processor.resample))
        values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
        made = processor(images=Image.fromarray(values), do_resize=False, return_tensors="pt")
        self._values = made["pixel_values"][0].flatten(1).numpy()

    def __call__(self, image: Image.Image) -> dict[str, torch.Tensor]:
        """What the processor makes of an RGB image, ``[1, 3, height, width]``."""
        shown = np.asarray(image.resize(self._size, self._resample))
        channels = [own[shown[..., i]] for i, own in enumerate(self._values)]
        return {"pixel_values": torch.from_numpy(np.stack(channels)[None])}
