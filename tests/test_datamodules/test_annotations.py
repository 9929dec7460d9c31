"""COCO's json from anybody: one sentence, or what is right; nothing else."""

from __future__ import annotations

import copy
import json
import logging
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from src.datamodules.annotations import Annotations
from src.datamodules.listing import find_listed
from src.datamodules.shapes import Outline, Runs, read_shape
from src.errors import InputError

WIDTH, HEIGHT = 50, 40
GOOD = [10, 20, 30, 20, 30, 35, 10, 35]  # 20 x 15 pixels
NAN, INF = float("nan"), float("inf")
BASE: dict[str, Any] = {
    "images": [
        {"id": 7 + i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(2)
    ],
    "annotations": [
        {"id": i, "image_id": 7, "category_id": 18, "bbox": [10, 20, 20, 15], "iscrowd": 0}
        | {"segmentation": [GOOD]}
        for i in range(2)
    ],
    "categories": [{"id": 18, "name": "dog"}, {"id": 44, "name": "cat"}],
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "instances.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def changed(part: str, **values: Any) -> dict[str, Any]:
    """`BASE`, the last entry of a part with other values; `...` removes one."""
    content = copy.deepcopy(BASE)
    one = content[part][-1]
    one.update(values)
    for key in [key for key, value in values.items() if value is ...]:
        del one[key]
    return content


def refused(call: Callable[[], object], *fragments: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    (sentence,) = error.value.args
    assert sentence.endswith(".")
    assert sentence.isprintable()
    assert len(sentence) < 600
    assert not re.search(r"[.!] [A-Z]", sentence)
    for fragment in fragments:
        assert fragment in sentence


def read(folder: Path, content: Any, **options: Any) -> Annotations:
    return Annotations(write(folder, content), **options)


def mask_of(annotations: Annotations, number: int = -1) -> np.ndarray:
    shape = annotations.objects[7][number].shape
    assert shape is not None
    return shape.drawn(HEIGHT, WIDTH)


TEXT = json.dumps(BASE)
FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not json"),
    "blank": (b"  \n", "is not json"),
    "half": (TEXT[: len(TEXT) // 2].encode(), "is not json"),
    "followed": (TEXT.encode() + b"x", "is not json"),
    "page": (b"<html></html>", "is not json"),
    "zipped": (b"\x1f\x8b\x08\x00\x00", "is not json"),
    "latin": (TEXT.replace("dog", "d\xf6g").encode("latin-1"), "is not json"),
    "deep list": (b"[" * 200_000, "nests too deeply"),
    "deep object": (b'{"a":' * 200_000, "nests too deeply"),
    "deep within": (
        TEXT.replace('"dog"', "[" * 100_000 + "]" * 100_000).encode(),
        "nests too deeply",
    ),
    "digits": (TEXT.replace("18", "9" * 5000).encode(), "is not json"),
    "pickle": (b"\x80\x04\x95", "is not json"),
    "list": (b"[]", "has no images"),
    "null": (b"null", "has no images"),
    "text": (b'"images"', "has no images"),
    "number": (b"1e999", "has no images"),
    "not a number": (b"NaN", "has no images"),
}
PARTS = {
    f"{part} {name}": ({**BASE, part: value}, f"has {wrong}{part}")
    for part in BASE
    for name, value, wrong in (
        ("null", None, "no "),
        ("empty", [], "no "),
        ("zero", 0, "no "),
        ("text", "abc", ""),
        ("object", {"0": {}}, ""),
        ("number", 5, ""),
    )
}
NOT_WHOLE = ("1", None, True, 1.5, [1], {}, 2**70, NAN, INF)
NOT_TEXT = (7, None, "", " ", [], ["a"], "a\0b", True, {"a": 1})
WRONG: dict[str, dict[str, tuple[Any, ...]]] = {
    "images": {
        "id": NOT_WHOLE,
        "file_name": NOT_TEXT,
        "width": ("50", None, 0, -5, 1.5, NAN, INF, 1e12, [50], True),
        "height": ("40", None, 0, -1, 0.5, -INF),
    },
    "categories": {"id": NOT_WHOLE, "name": NOT_TEXT},
    "annotations": {
        "image_id": NOT_WHOLE,
        "category_id": NOT_WHOLE,
        "bbox": (
            None,
            "10,20,20,15",
            [],
            [10, 20, 20],
            [10, 20, 20, 15, 0],
            [None, 20, 20, 15],
            ["10", "20", "20", "15"],
            [10, 20, NAN, 15],
            [10, NAN, 20, 15],
            [INF, 20, 20, 15],
            [10, 20, INF, 15],
            [10, 20, 1e300, 15],
            [10, 20, 10**400, 15],
            [[10, 20], [20, 15]],
            {"x": 10, "y": 20},
            [True, True, True, True],
        ),
        "iscrowd": ("0", None, 2, -1, 0.5, NAN, [0]),
    },
}
FIELDS = {
    f"{part} {key}={str(value)[:30]}": (changed(part, **{key: value}), f"has {key}=")
    for part, keys in WRONG.items()
    for key, values in keys.items()
    for value in values
}
MISSING = {
    f"{part} without {key}": (changed(part, **{key: ...}), f"has no {key}")
    for part, keys in WRONG.items()
    for key in keys
    if key != "iscrowd"
}
ENTRIES = {
    f"{part} of {value}": ({**BASE, part: [*BASE[part], value]}, f"{part[:-1].replace('ie', 'y')}")
    for part in ("images", "annotations")
    for value in (None, 5, "abc", [], [{}])
}
FAR_AWAY = ([0, 0, x, 0, x, x, 0, x] for x in (1e9, 1e20, -1e9, 1e300, INF, 10**400))
SHAPES: dict[str, tuple[Any, str]] = {
    **{f"far {i}": ([corners], "not a place in an image") for i, corners in enumerate(FAR_AWAY)},
    "further 1e8": ([[0, 0, 1e8, 0, 1e8, 1e8]], "outside its image"),
    "further 1e7": ([GOOD, [0, 0, 1e7, 0, 1e7, 1e7]], "outside its image"),
    "negative": ([[-3, 0, 10, 0, 10, 10]], "outside its image"),
    "below": ([[0, 0, 10, 0, 10, 42]], "outside its image"),
    "nan": ([[NAN] * 6], "not a place in an image"),
    "nan within": ([GOOD, [1, 2, 3, NAN, 5, 6]], "not a place in an image"),
    "odd": ([[*GOOD, 9]], "9 numbers"),
    "odd second": ([GOOD, GOOD[:5]], "5 numbers"),
    "odd flat": (GOOD[:7], "7 numbers"),
    "one point": ([[7, 7]], "no polygon with an area"),
    "no point": ([[]], "no polygon with an area"),
    "a box": ([[5, 5, 30, 20]], "no polygon with an area"),
    "a flat box": ([5, 5, 30, 20], "no polygon with an area"),
    "a line": ([[5, 5, 30, 5, 20, 5]], "no polygon with an area"),
    "null within": ([None], "segmentation=[None]"),
    "null second": ([GOOD, None], "segmentation="),
    "texts": ([["5", "5", "35", "5", "35", "25"]], "segmentation="),
    "flags": ([[True, False, True, False, True, True]], "segmentation="),
    "objects": ([{"x": 5, "y": 5}], "segmentation="),
    "triples": ([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]], "segmentation="),
    "nested": ([[[[1, 2]]]], "segmentation="),
    "deep": ([[[[[[[[GOOD]]]]]]]], "segmentation="),
    "text": ("none", "segmentation='none'"),
    "empty text": ("", "segmentation=''"),
    "number": (5, "segmentation=5"),
    "false": (False, "segmentation=False"),
    "nothing in it": ({}, "mask of size None"),
    "no counts": ({"size": [HEIGHT, WIDTH]}, "counts=None"),
    "no size": ({"counts": [2000]}, "mask of size None"),
    "size null": ({"counts": [2000], "size": None}, "mask of size None"),
    "size turned": ({"counts": [2000], "size": [WIDTH, HEIGHT]}, "mask of size [50, 40]"),
    "size huge": ({"counts": [2**40], "size": [2**20, 2**20]}, "mask of size"),
    "size texts": ({"counts": [2000], "size": ["40", "50"]}, "mask of size"),
    **{
        f"counts {str(counts)[:30]}": ({"counts": counts, "size": [HEIGHT, WIDTH]}, fragment)
        for counts, fragment in (
            ([], "counts=[]"),
            (None, "counts=None"),
            (2000, "counts=2000"),
            ({}, "counts={}"),
            (["2000"], "counts="),
            ([1000.0, 1000.0], "counts="),
            ([True, 1999], "counts="),
            ([NAN, 2000], "counts="),
            ([5, 10], "2000 together"),
            ([5, 10, 2385], "2000 together"),
            ([0, 2001], "2000 together"),
            ([-1, 2001], "0 or more"),
            ([2**63, 2**63], "2000 together"),
            ([10**400], "2000 together"),
            ("", "counts=''"),
            ("\x00\x01", "counts="),
            ("ooooooooooooooooooooooo0", "counts="),
            ("no text of runs!", "counts="),
            ("é", "counts="),
            ("\ud800", "counts="),
            ("o", "counts="),  # goes on, and ends
            ("0" * 1000, "2000 together"),
            ("OOOO", "0 or more"),
        )
    },
}
SEGMENTATIONS = {
    f"shape {name}": (changed("annotations", segmentation=shape), fragment)
    for name, (shape, fragment) in SHAPES.items()
}
OTHERS: dict[str, tuple[Any, str]] = {
    "two images of an id": (changed("images", id=7), "two images with the id 7"),
    "two categories of an id": (changed("categories", id=18), "two categories with the id 18"),
    "two categories of a name": (changed("categories", name="dog"), "the name 'dog'"),
    "an image that is not listed": (changed("annotations", image_id=99), "image 99"),
    "a category that is not listed": (changed("annotations", category_id=5), "category 5"),
    "a box outside": (changed("annotations", bbox=[40, 20, 20, 15]), "datamodule.clip_boxes=true"),
    "a box of no width": (changed("annotations", bbox=[10, 20, 0, 15]), "no area"),
    "a box of less": (changed("annotations", bbox=[10, 20, 20, -1]), "no area"),
    "escape codes": (changed("images", file_name=[chr(27) + "]0;owned"]), "owned"),
    "a new line": (changed("annotations", segmentation="a\nb"), "segmentation="),
    "a long text": (changed("annotations", segmentation="a" * 100_000), "segmentation="),
    "a long list": (changed("annotations", bbox=[1] * 100_000), "bbox="),
    "shares of the image": (
        {**BASE, "annotations": [{**BASE["annotations"][0], "bbox": [0.1, 0.2, 0.4, 0.5]}]},
        "between 0 and 1",
    ),
}
HOSTILE = {**FILES, **PARTS, **FIELDS, **MISSING, **ENTRIES, **SEGMENTATIONS, **OTHERS}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_json_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    content, fragment = HOSTILE[name]
    path = write(tmp_path, content)
    refused(lambda: Annotations(path), str(path), fragment)


def test_that_there_are_many() -> None:
    assert len(HOSTILE) >= 120


def test_any_value_in_any_place_is_read_or_refused(tmp_path: Path) -> None:
    draw = random.Random(0)
    values = [None, True, -1, 0, 7, 18, 2**64, 1.5, NAN, INF, -1e9, "", "18", [], [[]], {}, GOOD]
    values += [[GOOD], [[7, 7]], {"counts": [2000], "size": [HEIGHT, WIDTH]}, BASE]
    outcomes = set()
    for _ in range(400):
        content = copy.deepcopy(BASE)
        one: Any = content
        while True:
            key = draw.choice(list(one) if isinstance(one, dict) else range(len(one)))
            if not one[key] or not isinstance(one[key], (dict, list)) or draw.random() < 0.1:
                break
            one = one[key]
        one[key] = draw.choice(values)
        path = write(tmp_path, content)
        try:
            annotations = Annotations(path)
        except InputError:
            outcomes.add("refused")
            continue
        outcomes.add("read")
        for objects in annotations.objects.values():
            for each in objects:
                drawn = each.shape and each.shape.drawn(HEIGHT, WIDTH)
                assert drawn is None or drawn.max() <= 1
    assert outcomes == {"refused", "read"}


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ([GOOD], 300),
        ([GOOD, [7, 7]], 300),
        ([[7, 7], GOOD], 300),
        ([[5, 5, 30, 20], GOOD], 300),  # two corners, not a box
        ([GOOD, []], 300),
        (GOOD, 300),
        ([[x, y] for x, y in zip(GOOD[::2], GOOD[1::2], strict=True)], 300),
        ([[[x, y] for x, y in zip(GOOD[::2], GOOD[1::2], strict=True)]], 300),
        ([GOOD, [0, 0, 10, 0, 10, 10, 0, 10]], 400),
        ([[0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]], 2000),
        ([[-0.5, -0.5, WIDTH + 0.5, 0, WIDTH, HEIGHT, 0, HEIGHT + 1]], 2000),
        ({"size": [HEIGHT, WIDTH], "counts": [2000]}, 0),
        ({"size": [HEIGHT, WIDTH], "counts": [0, 2000]}, 2000),
        ({"size": [HEIGHT, WIDTH], "counts": [5, 10, 1985]}, 10),
    ],
)
def test_shapes_of_every_kind_have_their_area(shape: Any, area: int, tmp_path: Path) -> None:
    annotations = read(tmp_path, changed("annotations", segmentation=shape))
    assert mask_of(annotations).sum() == area


def test_a_polygon_lies_where_it_is_drawn(tmp_path: Path) -> None:
    expected = np.zeros((HEIGHT, WIDTH))
    expected[20:35, 10:30] = 1
    assert (mask_of(read(tmp_path, BASE)) == expected).all()


def test_runs_go_down_the_columns() -> None:
    shape = read_shape({"size": [4, 3], "counts": [5, 2, 5]}, 3, 4, "x")
    assert shape is not None
    assert shape.drawn(4, 3).tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_packed_runs_are_those_of_cocos_tools() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        height, width = (int(n) for n in draw.integers(1, 150, 2))
        pixels = (draw.random((height, width)) > draw.random()).astype(np.uint8)
        pixels[: height // 2, : width // 2] = 1
        packed = coco_mask.encode(np.asfortranarray(pixels))["counts"].decode()
        shape = read_shape({"size": [height, width], "counts": packed}, width, height, "x")
        assert isinstance(shape, Runs)
        assert (shape.drawn(height, width) == pixels).all()


@pytest.mark.parametrize("shape", [None, [], ...])
def test_an_object_without_a_shape(shape: Any, tmp_path: Path) -> None:
    annotations = read(tmp_path, changed("annotations", segmentation=shape))
    assert annotations.objects[7][-1].shape is None
    assert annotations.objects[7][-1].box == (10, 20, 30, 35)


def test_stray_clicks_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(tmp_path, changed("annotations", segmentation=[[7, 7], GOOD, [8, 8, 9, 9]]))
    (warning,) = caplog.messages
    assert "2 polygons have no area, as a stray click, and are left out." in warning


def test_objects_of_no_area_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = changed("annotations", segmentation=[[7, 7]])
    content["annotations"].append({**content["annotations"][0], "bbox": [10, 20, 0, 15], "id": 9})
    annotations = read(tmp_path, content, drop_empty_boxes=True)
    assert [len(objects) for objects in annotations.objects.values()] == [1]
    assert "2 objects have no area and are left out." in caplog.text


@pytest.mark.parametrize(
    ("box", "shape", "clipped", "area"),
    [
        ([-10, 20, 20, 15], [[-10, 20, 10, 20, 10, 35, -10, 35]], (0, 20, 10, 35), 150),
        ([40, 30, 30, 30], [[40, 30, 70, 30, 70, 60, 40, 60]], (40, 30, 50, 40), 100),
        # The corner outside is cut off along the edges, not moved into the image.
        ([30, 0, 40, 40], [[30, 0, 70, 40, 30, 40]], (30, 0, 50, 40), 610),
        ([-100, -100, 300, 300], [[-1e8, -1e8, 1e8, -1e8, 1e8, 1e8, -1e8, 1e8]], None, 2000),
        ([40, 30, 1e8, 1e8], [], (40, 30, 50, 40), None),
        ([10, 20, 20, 15], [[10, 20, 90, 20, 90, 35, 10, 35]], (10, 20, 30, 35), 600),
    ],
)
def test_what_reaches_out_is_clipped(
    box: Any,
    shape: Any,
    clipped: Any,
    area: int | None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = changed("annotations", bbox=box, segmentation=shape)
    refused(lambda: read(tmp_path, content), "annotation 1", "datamodule.clip_boxes=true")
    annotations = read(tmp_path, content, clip_boxes=True)
    assert annotations.objects[7][1].box == (clipped or (0, 0, WIDTH, HEIGHT))
    assert area is None or int(mask_of(annotations).sum()) == pytest.approx(area, rel=0.02)
    assert "1 objects reach out of their images and are clipped." in caplog.text


def test_a_box_that_misses_its_image_cannot_be_clipped(tmp_path: Path) -> None:
    content = changed("annotations", bbox=[60, 20, 20, 15])
    refused(lambda: read(tmp_path, content, clip_boxes=True), "no area", "[60, 20, 20, 15]")


def test_a_clipped_polygon_is_a_polygon() -> None:
    triangle = read_shape([[-10, 0, 10, 0, 10, 20]], 50, 40, "x")
    assert isinstance(triangle, Outline)
    (polygon,) = triangle.clipped(50, 40).polygons
    assert sorted(map(tuple, polygon.tolist())) == [(0, 0), (0, 10), (10, 0), (10, 20)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_json_in_any_utf(encoding: str, tmp_path: Path) -> None:
    text = json.dumps(BASE, ensure_ascii=False).replace("dog", "chien d\xe9j\xe0")
    assert read(tmp_path, text.encode(encoding)).names == {18: "chien d\xe9j\xe0", 44: "cat"}


def test_sizes_with_a_point_and_flags_are_numbers(tmp_path: Path) -> None:
    content = changed("images", width=50.0, height=40.0)
    content["annotations"][0]["iscrowd"] = True
    annotations = read(tmp_path, content)
    assert (annotations.images[1].width, annotations.images[1].height) == (50, 40)
    assert [each.crowd for each in annotations.objects[7]] == [1, 0]


def test_annotations_of_one_id_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    annotations = read(tmp_path, changed("annotations", id=0))
    assert len(annotations.objects[7]) == 2
    assert "1 annotations have the id of another one." in caplog.text


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        ({18: "dog", 44: "cat"}, {18: 1, 44: 2}),
        ({18: "cat", 44: "dog"}, {18: 2, 44: 1}),
        ({0: "dog", 1: "cat"}, {0: 1, 1: 2}),
        ({5: "cat", 9: "dog"}, {5: 2, 9: 1}),
    ],
)
def test_labels_are_by_name(ids: dict[int, str], labels: dict[int, int], tmp_path: Path) -> None:
    first = read(tmp_path, BASE)
    content = copy.deepcopy(BASE)
    content["categories"] = [{"id": id, "name": name} for id, name in ids.items()]
    for one in content["annotations"]:
        one["category_id"] = next(iter(ids))
    assert read(tmp_path, content, like=first).labels == labels


@pytest.mark.parametrize("name", ["wolf", "Cat", "cat ", "c\nat"])
def test_other_names_are_refused(name: str, tmp_path: Path) -> None:
    first = read(tmp_path, BASE)
    content = changed("categories", name=name)
    refused(lambda: read(tmp_path, content, like=first), "same categories", repr(name), "'cat'")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("0.jpg", "1.jpg", "sub/2.jpg", "odd\\3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("0.jpg", "0.jpg"),
        ("./0.jpg", "0.jpg"),
        ("sub/2.jpg", "sub/2.jpg"),
        ("sub\\2.jpg", "sub/2.jpg"),
        ("odd\\3.jpg", "odd\\3.jpg"),
        ("images/0.jpg", "0.jpg"),
        ("images\\0.jpg", "0.jpg"),
        ("a/b/c\\0.jpg", "0.jpg"),
    ],
)
def test_an_image_is_found_by_any_notation(name: str, file: str, folder: Path) -> None:
    assert find_listed(folder, [name], Path("x.json")) == [folder / file]


@pytest.mark.parametrize(
    "name",
    [
        *("../0.jpg", "..\\0.jpg", "sub/../../0.jpg", "sub\\..\\..\\0.jpg", "..", ".", "/"),
        *("/etc/0.jpg", "\\\\a\\0.jpg", "C:\\0.jpg", "c:/0.jpg", "C:0.jpg"),
    ],
)
def test_a_name_that_leads_out_of_the_folder(name: str, folder: Path) -> None:
    refused(lambda: find_listed(folder, [name], Path("x.json")), "x.json", "outside of the images'")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("9.jpg", ""),
        ("0.JPG", "0.JPG is written 0.jpg there"),
        ("sub/2.Jpg", "written 2.jpg there"),
        ("sub", ""),
        ("x" * 5000, ""),
        ("\ud800.jpg", ""),
        ("https://example.org/9.jpg", ""),
    ],
)
def test_an_image_that_is_missing(name: str, hint: str, folder: Path) -> None:
    said = "1 of the 2 images that x.json lists are not in"
    refused(lambda: find_listed(folder, ["0.jpg", name], Path("x.json")), said, hint)


def test_one_file_for_several_names(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    refused(lambda: find_listed(folder, ["a/0.jpg", "b/0.jpg"], Path("x.json")), "several images")
    find_listed(folder, ["0.jpg", "0.jpg"], Path("x.json"))
    assert "lists 1 images more than once" in caplog.text
