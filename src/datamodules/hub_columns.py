"""Finds the columns of a Hugging Face data set that hold images and labels."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import InputError


def find_columns(
    name: str,
    split: str,
    cache: str | None,
    *,
    image_key: str | None,
    label_key: str | None,
) -> dict[str, str]:
    """Return the columns as timm's `input_key` and `target_key`.

    A column that is not given is the one called `image` or `label`, else the only one of its type.

    Args:
        name: Name of the data set on the hub, or its folder.
        split: The data set's own name of the part.
        cache: Folder of downloaded data sets; None for the library's own.
        image_key: Column of the images, or None to find it.
        label_key: Column of the labels, or None to find it.

    Raises:
        InputError: If there is no such column, or more than one could be meant.
    """
    import datasets

    features = datasets.load_dataset(name, split=split, cache_dir=cache).features
    images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    labels = [key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    return {
        "input_key": _column("image", image_key, features, images, name),
        "target_key": _column("label", label_key, features, labels, name),
    }


def _column(
    usual: str, given: str | None, features: Collection[str], of_type: list[str], name: str
) -> str:
    column = given or (usual if usual in features else None)
    if column is None and len(of_type) == 1:
        column = of_type[0]
    if column is None or column not in features:
        called = f"no column {given}" if given else f"no one column of {usual}s"
        raise InputError(
            f"datamodule.dataset=hfds/{name} has {called}: name one of {', '.join(features)} as "
            f"datamodule.{usual}_key."
        )
    return column
