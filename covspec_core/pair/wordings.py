"""How each kind of question is asked; braces take the things, groups or places it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ASKED: Final[Mapping[str, tuple[str, ...]]] = {
    "describe": (
        "describe the image",
        "describe the image in detail",
        "please describe this picture",
        "describe the scene",
        "what is in the image",
        "what do you see",
        "what can you see",
        "what does the picture show",
        "tell me what is in this photo",
        "give a detailed description of the image",
    ),
    "what": (
        "what is {}",
        "what is there {}",
        "what can you see {}",
        "tell me what is {}",
        "which object is {}",
    ),
    "line": (
        "what is {}",
        "what can you see {}",
        "list the things {}",
        "which objects are {}",
    ),
    "name": (
        "name the {} of the things in reading order",
        "list the {} from top left to bottom right",
        "which {} do you see one after the other",
    ),
    "where": (
        "where is {}",
        "where can i find {}",
        "in which place is {}",
        "find {}",
        "tell me where {} is",
    ),
    "count": (
        "how many {} are there",
        "how many {} are in the image",
        "how many {} can you see",
        "how many {} do you see",
        "count the {}",
        "what is the number of {}",
    ),
    "more": (
        "are there more {} or more {}",
        "are there more {} than {}",
        "compare the number of {} and {}",
    ),
    "larger": (
        "which is larger , {} or {}",
        "which one is bigger {} or {}",
        "is {} larger than {}",
        "compare the size of {} and {}",
    ),
    "beside": ("is {} {} {}", "tell me if {} is {} {}", "is it true that {} is {} {}"),
    "nearest": (
        "what is nearest to {}",
        "which object is the closest to {}",
        "what is next to {}",
    ),
    "badge": ("what is on {}", "which badge does {} bear", "does {} bear a badge"),
    "background": (
        "what is the background like",
        "describe the background",
        "which background does the image have",
    ),
}
