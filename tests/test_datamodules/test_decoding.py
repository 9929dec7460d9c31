"""Every image becomes the right 8-bit RGB, or is refused in one sentence and bounded memory."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from src.datamodules.decoding import FORMATS, SUFFIXES, decode_rgb, is_nearly_black, open_image
from src.datamodules.folders import ImageFolders
from src.datamodules.frames import open_rgb
from src.errors import InputError

RAMP = np.linspace(0, 65535, 256 * 256).round().astype(np.uint16).reshape(256, 256)
LEVELS = np.round(RAMP / 257).astype(np.uint8)


def read(path: Path, *, upright: bool = False) -> np.ndarray:
    with open_image(path) as image:
        return np.asarray(decode_rgb(image, upright=upright))


def gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_levels_and_order(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"ramp.{suffix}"
    Image.fromarray(RAMP).save(file)
    assert np.array_equal(read(file), gray(LEVELS))
    assert np.array_equal(np.asarray(open_rgb(file)), gray(LEVELS))


def test_big_endian_and_32_bits_are_read_as_16(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(">u2")).save(tmp_path / "big.tif")
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "whole.tif")
    for name in ("big.tif", "whole.tif"):
        assert np.array_equal(read(tmp_path / name), gray(LEVELS))


def test_an_image_does_not_depend_on_its_own_brightest_pixel(tmp_path: Path) -> None:
    dark = np.minimum(RAMP, 4095)
    Image.fromarray(dark).save(tmp_path / "dark.png")
    assert read(tmp_path / "dark.png").max() == 16
    with open_image(tmp_path / "dark.png") as image:
        assert is_nearly_black(image)
    Image.fromarray(RAMP).save(tmp_path / "ramp.png")
    with open_image(tmp_path / "ramp.png") as image:
        assert not is_nearly_black(image)


def write_tiff(path: Path, bits: int, photometric: int, rows: bytes, width: int = 2) -> None:
    """One row of gray pixels, by hand: Pillow writes neither of these kinds."""
    tags = [
        (256, 3, width), (257, 3, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 3, 1), (279, 4, len(rows)),
    ]  # fmt: skip
    start = 8 + len(rows) + len(rows) % 2
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + rows.ljust(start - 8, b"\0") + directory)


def test_twelve_bits_of_a_tiff_reach_white(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", 12, 1, bytes([0xFF, 0xF8, 0x00]))  # 4095, 2048
    assert read(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 128]


def test_white_may_be_zero(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", 16, 0, struct.pack("<HH", 0, 65535))
    assert read(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 0]


def test_floats_by_their_range(tmp_path: Path) -> None:
    for name, values in {"unit": RAMP / 65535, "bytes": LEVELS}.items():
        Image.fromarray(values.astype(np.float32)).save(tmp_path / f"{name}.tif")
        assert np.array_equal(read(tmp_path / f"{name}.tif"), gray(LEVELS))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.float32([[0, 256]]), "floats reach from 0 to 256"),
        (np.float32([[-0.5, 1]]), "floats reach from -0.5"),
        (np.float32([[0, np.nan]]), "not all finite"),
        (np.float32([[0, np.inf]]), "not all finite"),
        (np.int32([[0, 65536]]), "0 to 65536"),
        (np.int32([[-1, 9]]), "from -1 to 9"),
    ],
)
def test_other_ranges_are_refused(tmp_path: Path, values: np.ndarray, said: str) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=said):
        open_rgb(tmp_path / "a.tif")


COLORS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def with_alpha(alpha: int) -> Image.Image:
    return Image.fromarray(np.dstack([COLORS, np.full((20, 30), alpha, np.uint8)]))


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_opaque_alpha_is_the_plain_image_and_hidden_colors_stay_hidden(
    tmp_path: Path, suffix: str
) -> None:
    for alpha, wanted in ((255, COLORS), (0, np.full_like(COLORS, 255))):
        options = {"lossless": True, "exact": True} if suffix == "webp" else {}
        with_alpha(alpha).save(tmp_path / f"{alpha}.{suffix}", **options)
        assert np.array_equal(read(tmp_path / f"{alpha}.{suffix}"), wanted)


def test_half_transparent_is_half_white() -> None:
    found = np.asarray(decode_rgb(with_alpha(128))).astype(int)
    assert np.abs(found - (COLORS * (128 / 255) + 255 * (127 / 255))).max() <= 1


def test_transparent_palette_and_gray(tmp_path: Path) -> None:
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([200, 10, 10] * 256)
    palette.putpixel((0, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    palette.save(tmp_path / "p.gif", transparency=0)
    Image.new("L", (8, 8), 9).save(tmp_path / "l.png", transparency=9)
    Image.new("LA", (8, 8), (9, 0)).save(tmp_path / "la.png")
    Image.new("I;16", (8, 8), 9).save(tmp_path / "i.png", transparency=9)
    for name in ("p.png", "p.gif", "l.png", "la.png", "i.png"):
        assert read(tmp_path / name)[4, 4].tolist() == [255, 255, 255], name
    for name in ("p.png", "p.gif"):
        assert read(tmp_path / name)[0, 0].tolist() == [200, 10, 10]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB"])
def test_other_modes_are_converted(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), "white")
    if mode == "LAB":
        Image.merge("LAB", [Image.new("L", (4, 4), v) for v in (255, 128, 128)]).save(
            tmp_path / "a.tif"
        )
    elif mode == "YCbCr":  # Pillow's own files of it cannot be read
        assert np.asarray(decode_rgb(image.convert(mode))).min() >= 250
        return
    else:
        image.convert(mode).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif").min() >= 250


def test_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), color) for color in ("red", "blue")]
    for suffix in ("gif", "png", "webp", "tif"):
        options = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
        assert read(tmp_path / f"a.{suffix}")[3, 3].tolist() == [255, 0, 0]


def test_orientation_only_where_asked_for(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLORS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read(tmp_path / "a.png"), COLORS)
    assert np.array_equal(read(tmp_path / "a.png", upright=True), np.rot90(COLORS, -1))


def test_every_suffix_of_a_format_is_known() -> None:
    expected = {".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    assert expected <= set(SUFFIXES)
    assert not {".eps", ".svg", ".ico", ".psd", ".pdf"} & set(SUFFIXES)
    assert "EPS" not in FORMATS


# --- hostile files


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width: int, height: int, *chunks: bytes, data: bytes = b"\0") -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    content = png_chunk(b"IDAT", zlib.compress(data)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + content


def encoded(kind: str, size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def patched(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
BMP = encoded("BMP")
GIF = encoded("GIF")
JPEG = encoded("JPEG")
STRIP = io.BytesIO()
Image.new("L", (60_000, 1)).save(STRIP, "PNG")

HOSTILE = {
    "empty": b"",
    "text": b"I am no image",
    "html": b"<!doctype html><html>404</html>",
    "zeros": bytes(4096),
    "eps": EPS,
    "eps with a preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(EPS)) + bytes(20) + EPS,
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "ico": encoded("ICO", (16, 16)),
    "icns": b"icns" + struct.pack(">I", 8),
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(60),
    "ppm": b"P6 2 2 255\n" + bytes(12),
    "xbm": b"#define a_width 8\n#define a_height 8\nstatic char a[]={0,0,0,0,0,0,0,0};",
    "tga": encoded("TGA"),
    "pcx": encoded("PCX"),
    "sgi": encoded("SGI"),
    "fits": b"SIMPLE  =                    T".ljust(2880),
    "heic": b"\0\0\0\x18ftypheic" + bytes(40),
    "zip": b"PK\3\4" + bytes(40),
    "png of a billion pixels": png(30_000, 30_000),
    "png of 2**31": png(2**31 - 1, 2**31 - 1),
    "png of no width": png(0, 5),
    "png of 12000 x 12000": png(12_000, 12_000),
    "png without data": png(9, 9)[:33],
    "png cut": encoded("PNG")[:2000],
    "png of a wrong checksum": patched(encoded("PNG"), 60, b"\xff\xff\xff"),
    "png with text of 100 MB": png(
        1, 1, *[png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000)))] * 2, data=b"\0\0"
    ),
    "png strip": STRIP.getvalue(),
    "jpeg cut": JPEG[:700],
    "jpeg of its header alone": JPEG[:20],
    "jpeg of 65500 x 65500": patched(
        JPEG, JPEG.index(b"\xff\xc0") + 5, struct.pack(">HH", 65500, 65500)
    ),
    "gif cut": GIF[:900],
    "gif of 65535 x 65535": patched(GIF, 6, struct.pack("<HH", 65535, 65535)),
    "bmp cut": BMP[:3000],
    "bmp of a billion pixels": patched(BMP, 18, struct.pack("<ii", 2**30, 2**30)),
    "bmp of negative width": patched(BMP, 18, struct.pack("<i", -5)),
    "webp cut": encoded("WEBP")[:300],
    "webp of its header": encoded("WEBP")[:16],
    "tiff cut": encoded("TIFF")[:4000],
    "tiff that points at itself": b"II*\0\x08\0\0\0\0\0" + struct.pack("<I", 8),
    "tiff far away": b"II*\0" + struct.pack("<I", 2**32 - 1),
    "avif of its header": b"\0\0\0\x1cftypavif" + bytes(60),
}  # fmt: skip


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Ghostscript on PATH that leaves this file behind when it is run."""
    marker, folder = tmp_path / "was-run", tmp_path / "bin"
    folder.mkdir()
    for name in ("gs", "gswin64c", "curl"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return marker


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence(name: str, tmp_path: Path, marker: Path) -> None:
    for split in ("train", "val"):
        folder = tmp_path / split / "ant"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(HOSTILE[name])
    images = ImageFolders(str(tmp_path), "train", "val", skip=True).dataset(True, np.asarray)
    with pytest.raises(InputError, match=r"a\.jpg cannot be read as an image") as caught:
        images[0]
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert ". " not in sentence.rstrip(".")
    assert not marker.exists()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(("make", "said"), [(pipe, "a pipe"), (device, "a device")])
@pytest.mark.parametrize("skip", [False, True])
def test_pipes_and_devices_are_never_opened(
    make: Callable[[Path], None], said: str, skip: bool, tmp_path: Path
) -> None:
    (tmp_path / "val" / "ant").mkdir(parents=True)
    make(tmp_path / "val" / "ant" / "a.jpg")
    with pytest.raises(InputError, match=rf"a\.jpg is {said}, not a regular file"):
        ImageFolders(str(tmp_path), "train", "val", skip=skip).check(training=False)
    with pytest.raises(InputError, match=f"it is {said}"):
        open_rgb(tmp_path / "val" / "ant" / "a.jpg")


def test_a_dangling_link_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "val" / "ant").mkdir(parents=True)
    (tmp_path / "val" / "ant" / "a.jpg").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"a\.jpg cannot be read"):
        ImageFolders(str(tmp_path), "train", "val").check(training=False)


def test_much_text_in_an_image_is_no_fault(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "x" * 100_000, zip=True)
    Image.fromarray(COLORS).save(tmp_path / "a.png", pnginfo=info)
    assert np.array_equal(read(tmp_path / "a.png"), COLORS)
