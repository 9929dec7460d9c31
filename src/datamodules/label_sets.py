"""Names the labels of images with any number of classes each: vectors of 0 and 1."""

from __future__ import annotations

LABELS = "labels"  # the target's name
TARGET_WORDS = {LABELS: "any number of classes for each image"}
UNKNOWN = -1.0  # in a vector of 0 and 1: it is unknown whether the image has the class
