"""Images prepared directly are the library's to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil, GotOcr2ImageProcessorPil

from covspec_core.models.pictures import Pictures, unsupported_images

SIZE = {"height": 24, "width": 32}


@pytest.mark.parametrize("settings", [{}, {"do_normalize": False}, {"do_rescale": False},
                                      {"resample": 2, "rescale_factor": 0.01}])  # fmt: skip
@pytest.mark.parametrize("size", [(32, 24), (24, 24), (1, 1), (300, 7)])
def test_every_image_becomes_what_the_library_makes_of_it(settings, size):
    processor = GotOcr2ImageProcessorPil(size=SIZE, **settings)
    assert unsupported_images(processor) is None
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    told = processor(images=image, return_tensors="pt")["pixel_values"]
    made = Pictures(processor)(image)["pixel_values"]
    assert made.dtype == told.dtype
    np.testing.assert_array_equal(made, told)


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (CLIPImageProcessorPil(), "got 'CLIPImageProcessorPil'"),
        (GotOcr2ImageProcessorPil(size=SIZE, crop_to_patches=True), "one tile"),
        (GotOcr2ImageProcessorPil(size=SIZE, do_resize=False), "one tile"),
        (GotOcr2ImageProcessorPil(size={"shortest_edge": 24}), "height and width"),
    ],
)
def test_what_cannot_be_prepared_directly_is_named(processor, message):
    assert message in unsupported_images(processor)
