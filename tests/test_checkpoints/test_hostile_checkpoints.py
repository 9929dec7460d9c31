"""Files that somebody made on purpose: refused in a sentence, or harmless and read rightly."""

import io
import os
import pickle
import random
import socket
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.checkpoints.checkpoint import Checkpoint
from src.checkpoints.plain_values import UnreadTensor
from src.checkpoints.reading import read_file
from src.config import CONF
from src.errors import InputError
from src.modules import create_student
from src.runs.record import recorded_choices, with_recorded_run

WEIGHTS = {"norm.weight": torch.arange(6.0), "head.weight": torch.arange(4000.0).reshape(40, 100)}
OLD = {"_use_new_zipfile_serialization": False}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_):
        raise AssertionError("a checkpoint reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def saved(content=WEIGHTS, **how) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def archive(pickled: bytes, *parts: tuple[str, bytes], how=zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as made:
        for name, content in (("data.pkl", pickled), ("byteorder", b"little"), *parts):
            made.writestr(f"archive/{name}", content)
    return file.getvalue()


def older(pickled: bytes, keys: bytes = b"\x80\x02].", numbers: bytes = b"") -> bytes:
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(one, 2) for one in head) + pickled + keys + numbers


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(count: int, side: int, stride: int = 1, kind: str = "Float") -> bytes:
    """A pickle of `{"w": a tensor of `side` numbers over a storage of `count`}`."""
    number = struct.pack("<I", count)
    storage = b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"Storage\n"
    storage += text("0") + text("cpu") + b"\x8a\x05" + number + b"\0tQ"
    shape = b"\x8a\x05" + struct.pack("<I", side) + b"\0\x85\x8a\x05"
    shape += struct.pack("<I", stride) + b"\0\x85"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + shape
    return b"\x80\x02}" + text("w") + made + b"\x89NtRs."


def padded() -> dict[str, bytes]:
    whole = saved()
    made = {
        f"{size} bytes of {fill} behind": whole + bytes([fill]) * size
        for size in (1, 2, 21, 22, 100, 4096, 65535, 65536, 66000, 68000, 69400, 70000)
        for fill in (0, 80)
    }
    for size in (1, 4, 30, 4096, 66000):
        made[f"{size} bytes in front"] = bytes(size) + whole
        made[f"{size} bytes of an archive in front"] = (b"PK\3\4" + bytes(size))[:size] + whole
        made[f"a comment of {size}"] = (
            whole[:-2] + struct.pack("<H", min(size, 65535)) + bytes(min(size, 65535))
        )
    return made


def restructured() -> dict[str, bytes]:
    whole = saved()
    plain = archive(tensor(4, 4), ("data/0", bytes(16)))
    end = struct.unpack("<4s4H2LH", plain[-22:])
    directory, bomb = plain[end[6] : -22], archive(b"\x80\x02}.", how=zipfile.ZIP_DEFLATED)
    two = plain[:-22] + directory + plain[-22:]
    twice = [("data/0", bytes(16)), ("DATA/0", bytes(16))]
    return {
        "two directories": two,
        "two ends": plain + plain[-22:],
        "two archives": plain + plain,
        "an archive behind its directory": whole + plain,
        "compressed": bomb,
        "a compressed bomb": archive(
            tensor(4, 4), ("data/0", bytes(10**7)), how=zipfile.ZIP_DEFLATED
        ),
        "names in two cases": archive(tensor(4, 4), *twice),
        "a pickle in two cases": archive(tensor(4, 4), ("DATA.PKL", b"\x80\x02}."), *twice[:1]),
        "too few parts declared": plain[:-14] + struct.pack("<2H", 1, 1) + plain[-10:],
        "too many parts declared": plain[:-14] + struct.pack("<2H", 9, 9) + plain[-10:],
        "a directory said to be earlier": plain[:-6] + struct.pack("<L", end[6] - 1) + plain[-2:],
        "no pickle": archive(b"", ("x", b"")).replace(b"data.pkl", b"data.pkx"),
        "a name with a null": archive(tensor(4, 4), ("data/0", bytes(16)), ("xx", b"")).replace(
            b"/xx", b"/x\0"
        ),
        "TorchScript's parts": archive(tensor(4, 4), *twice[:1], ("constants.pkl", b"")),
    }


def overdeclared() -> dict[str, bytes]:
    made = {}
    for count, side, stride in (
        (5, 4, 1),  # the part has 4 numbers
        (2**31, 4, 1),
        (4, 5, 1),
        (4, 4, 2),
        (4, 2**31, 1),
        (4, 2, 2**31),
    ):
        pickled, name = tensor(count, side, stride), f"{count} {side} {stride}"
        made[f"archive {name}"] = archive(pickled, ("data/0", bytes(16)))
        keys = b"\x80\x02]" + text("0") + b"a."
        numbers = struct.pack("<q", count) + bytes(16)
        made[f"older {name}"] = older(pickled, keys, numbers)
    made["no part"] = archive(tensor(4, 4))
    made["a wider kind"] = archive(tensor(4, 4, 1, "Double"), ("data/0", bytes(16)))
    made["no keys"] = older(tensor(4, 4), numbers=struct.pack("<q", 4) + bytes(16))
    made["numbers cut"] = older(tensor(4, 4), keys, struct.pack("<q", 4) + bytes(15))
    made["another count"] = older(tensor(4, 4), keys, struct.pack("<q", 3) + bytes(16))
    return made


def huge() -> dict[str, bytes]:
    """Pickles that would take far more memory than they have bytes."""
    many, number = 320_000, b"\x8a\x05" + struct.pack("<I", 2**31) + b"\0"
    million = b"(" + b"K\1" * 200_000 + b"lq\0"
    pickles = {
        "bytearray": b"cbuiltins\nbytearray\n" + number + b"\x85R",
        "bytearray twice": b"c__builtin__\nbytearray\n" + number + b"\x85\x81",
        "bytearray by a later opcode": b"\x96" + struct.pack("<Q", 2**31),
        "bytes declared": b"\x8e" + struct.pack("<Q", 2**31),
        "a text declared": b"X" + struct.pack("<I", 2**31),
        "sets": b"(" + b"\x8f" * many + b"l",
        "dictionaries": b"(" + b"}" * many + b"l",
        "lists": b"(" + b"]" * many + b"l",
        "tuples in tuples": b")" + b"\x85" * many,
        "numbers": b"(" + b"K\1" * many + b"l",
        "copies": b"(]" + b"2" * many + b"l",
        "the memo's far end": b"Nr" + struct.pack("<I", 2**32 - 1),
        "many memos": b"N" + b"".join(b"r" + struct.pack("<I", n) for n in range(400_000)),
        "a long number": b"\x8b" + struct.pack("<i", 2**31 - 1),
        "a size": b"ctorch\nSize\n" + number + b"\x85R",
        "sizes": million + b"(" + b"ctorch\nSize\nh\0\x85R" * 2000 + b"l",
        "sets of lists": million + b"(" + b"cbuiltins\nset\nh\0\x85R" * 2000 + b"l",
        "sides of an empty tensor": b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n)R",
        "a list in itself": b"]q\0h\0a",
        "doubled": b"]q\0" + b"".join(b"(h%ch%clq%c" % (n, n, n + 1) for n in range(60)),
    }
    wrapped = {name: b"\x80\x02}" + text("w") + made + b"s." for name, made in pickles.items()}
    files = {f"archive, {name}": archive(made) for name, made in wrapped.items()}
    few = ("bytearray", "bytes declared", "a text declared", "sets", "a long number", "sizes")
    files |= {f"older, {name}": older(wrapped[name]) for name in few}
    files["a large pickle"] = archive(b"\x80\x02}" + text("w" * 17 * 2**20) + b"Ns.")
    files["many parts"] = archive(b"\x80\x02}.", *((f"data/{n}", b"") for n in range(30_000)))
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = b"{" + b",".join(entry % n for n in range(100_000)) + b"}"
    files["many names"] = struct.pack("<Q", len(header)) + header
    return files


GLOBALS = [
    "os system",
    "posix system",
    "nt system",
    "subprocess Popen",
    "builtins eval",
    "builtins exec",
    "builtins getattr",
    "builtins open",
    "builtins __import__",
    "__builtin__ compile",
    "torch load",
    "torch.hub load",
    "torch.storage _load_from_bytes",
    "torch.jit load",
    "torch._utils __import__",
    "importlib import_module",
    "webbrowser open",
    "socket create_connection",
    "runpy run_path",
    "code interact",
    "pickle loads",
    "_pickle loads",
    "shutil rmtree",
    "operator attrgetter",
    "functools partial",
    "urllib.request urlopen",
    "lightning.pytorch Trainer",
    "src.errors os.mkdir",
]


def calling() -> dict[str, bytes]:
    """Pickles that name functions, once each way of naming."""
    made = {}
    for name in GLOBALS:
        module, function = name.split()
        named = f"c{module}\n{function}\n".encode()
        stacked = text(module) + text(function) + b"\x93"
        call = text("touch marker") + b"\x85R"
        made[f"archive, {name}"] = archive(b"\x80\x02}" + text("w") + named + call + b"s.")
        made[f"older, {name}"] = older(b"\x80\x02}" + text("w") + stacked + call + b"s.")
    made["plain"] = b"\x80\x02cos\nsystem\n" + text("touch marker") + b"\x85R."
    made["in the keys"] = older(b"\x80\x02}.", b"\x80\x02cos\nsystem\n)R.")
    made["as instance"] = archive(b"\x80\x02(" + text("touch marker") + b"ios\nsystem\n.")
    return made


def flipped() -> dict[str, bytes]:
    whole, numbers, made = saved(), random.Random(0), {}
    for _ in range(40):
        at, bit = numbers.randrange(len(whole)), 1 << numbers.randrange(8)
        changed = bytearray(whole)
        changed[at] ^= bit
        made[f"bit {bit} at {at}"] = bytes(changed)
    return made


REFUSED = padded() | restructured() | overdeclared() | calling()
HOSTILE = REFUSED | flipped()


def outcome(content: bytes, path: Path):
    path.write_bytes(content)
    try:
        return read_file(path)
    except InputError as error:
        sentence = str(error)
        assert sentence.endswith(".")
        assert sentence.count(". ") == 0
        assert str(path) in sentence
        return sentence


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_or_read_rightly(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    came = outcome(HOSTILE[name], tmp_path / "file.ckpt")
    assert not (tmp_path / "marker").exists()
    if name in REFUSED:
        assert isinstance(came, str) or isinstance(came["w"], UnreadTensor), came
    elif not isinstance(came, str):
        assert all(torch.equal(came[key], WEIGHTS[key]) for key in WEIGHTS)


MEASURE = """
import os, resource, sys
from pathlib import Path
from src.errors import InputError
from src.checkpoints.reading import read_file
room = 64 * 2**20
for path in sorted(Path(sys.argv[1]).iterdir()):
    child = os.fork()
    if child == 0:
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        before = peak()
        try:
            read_file(path)
        except InputError:
            pass
        os._exit(peak() - before > path.stat().st_size + room)
    if os.waitpid(child, 0)[1]:
        print(path.name)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is measured Linux's way")
def test_no_file_takes_much_more_memory_than_it_has_bytes(tmp_path):
    files = huge()
    files["whole, of 72 MB"] = saved({"w": torch.zeros(18 * 10**6)})
    files["older, of 72 MB"] = saved({"w": torch.zeros(18 * 10**6)}, **OLD)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == ""


@pytest.mark.parametrize("how", [{}, OLD])
def test_values_of_every_kind_are_as_torch_reads_them(how, tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "whole": base,
        "transposed": base.T,
        "part": base[1:3, ::2],
        "empty": torch.zeros(0, 5),
        "number": torch.tensor(3),
        "half": base.half(),
        "bf16": base.bfloat16(),
        "bytes": torch.arange(9, dtype=torch.uint8),
        "bool": base > 3,
        "parameter": torch.nn.Parameter(base.clone()),
        "nested": {"a": [1, 2.5, None, True, "é", (1, 2)], 3: {"b": {1, 2}}, "c": 2**70, "d": b"x"},
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
    }
    if not how:  # kinds that PyTorch itself does not read in the older format
        content |= {"fp8": base.to(torch.float8_e4m3fn), "uint16": base.to(torch.uint16)}
    torch.save(content, tmp_path / "file", **how)
    ours, theirs = read_file(tmp_path / "file"), torch.load(tmp_path / "file", weights_only=True)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert type(ours[key]) is type(value) or key == "parameter"
        if isinstance(value, torch.Tensor):
            assert ours[key].dtype == value.dtype
            assert ours[key].stride() == value.stride()
            assert torch.equal(ours[key].float(), value.float())
        else:
            assert ours[key] == value


@pytest.fixture(scope="module")
def recorded():
    """What a run writes, in parts: the composed evaluation, its record, a student's weights."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = ["paths.run=run", "paths.assets=assets", "paths.name=name"]
        config, trained = compose("eval", words), compose("train", words)
    student = create_student("vit_micro", method="query_absorb")
    weights = {f"student.{k}": v for k, v in student.state_dict().items()}
    choices = {"task": "classification", "backbone": "vit_micro", "method": "query_absorb"}
    choices |= {"schedule": "geometric", "datamodule": "digits", "loss": "dynamicvit"}
    return config, OmegaConf.to_container(trained), choices, weights


def evaluated(recorded, path, changes, typed=()):
    """The settings of an evaluation of a checkpoint whose record was changed, by key."""
    config, record, choices, weights = recorded
    record = OmegaConf.to_container(OmegaConf.create(record))
    for key, value in changes.items():
        *parents, last = key.split(".")
        node = record
        for parent in parents:
            node = node[parent]
        node[last] = value
    run = {"config": record, "choices": choices}
    torch.save({"state_dict": weights, "run": run}, path)
    config = config.copy()
    config.ckpt_path = str(path)
    for word in typed:
        key, _, value = word.partition("=")
        OmegaConf.update(config, key, value)
    checkpoint = Checkpoint.read(path)
    recorded_choices(checkpoint)
    merged = with_recorded_run(config, list(typed), checkpoint)
    return OmegaConf.to_container(merged, resolve=True)


RECORDS = {
    "an environment variable": {"datamodule.seed": "${oc.env:SECRET}"},
    "one within a text": {"datamodule.network": "x${oc.env:SECRET}y"},
    "one with a default": {"backbone.network": "${oc.env:SECRET,x}"},
    "nested": {"rho": "${${oc.env:SECRET}}"},
    "escaped": {"rho": "\\${oc.env:SECRET}"},
    "hydra's": {"rho": "${hydra:runtime.cwd}"},
    "created": {"method": '${oc.create:"{_target_: os.mkdir}"}'},
    "decoded": {"method": "${oc.decode:'{a: 1}'}"},
    "selected elsewhere": {"rho": "${oc.select:paths.run,1}"},
    "selected with a text": {"rho": "${oc.select:schedule.rho,${oc.env:SECRET}}"},
    "another node": {"rho": "${paths.run}"},
    "a relative one": {"datamodule.seed": "${..seed}"},
    "in a circle": {"rho": "${schedule.rho}"},
    "doubled": {f"datamodule.x{n}": [f"${{datamodule.x{n + 1}}}"] * 4 for n in range(12)},
    "deep": {"schedule.deep": [[[[[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]]]]]]},
    "a name": {"datamodule": {"${oc.env:SECRET}": 1}},
    "a number as name": {"datamodule": {3: 1}},
    "a tensor": {"rho": torch.tensor(0.5)},
    "an object": {"rho": Path("x")},
    "a hub's data": {"datamodule.dataset": "hfds/somebody/something"},
    "TensorFlow's data": {"datamodule.dataset": "tfds/x"},
    "shards": {"datamodule.dataset": "wds/x"},
    "an address": {"datamodule.root": "http://localhost:1/x"},
    "an address within": {"datamodule.root": ["s3://x"]},
    "a command": {"datamodule.root": "pipe:touch marker"},
    "a hub's network": {"datamodule.network": "hf-hub:somebody/something"},
    "another network": {"backbone.network": "vit_tiny_patch16_224"},
    "a folder's network": {"backbone.network": "local-dir:x"},
    "another class": {"method": {"_target_": "os.mkdir", "path": "marker"}},
    "too deep a network": {"backbone.options.depth": 3000},
    "a network beyond its file": {"backbone.options": {"depth": 60, "embed_dim": 360}},
    "a wide network": {"backbone.options.embed_dim": 10**9},
    "a huge image": {"backbone.image_size": 100_000},
    "a huge image of the data": {"datamodule.image_size": 100_000},
    "endless": {"backbone.image_size": float("inf")},
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_hostile_record_is_refused(name, recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        evaluated(recorded, tmp_path / "run.ckpt", RECORDS[name])
    sentence = str(refused.value)
    assert "hunter2" not in sentence
    assert str(tmp_path / "run.ckpt") in sentence
    key = next(iter(RECORDS[name])) if name not in ("doubled", "in a circle") else ""
    assert key.rpartition(".")[0] in sentence
    assert not (tmp_path / "marker").exists()


def test_a_record_sets_values_but_none_of_the_machine_or_the_loss(recorded, tmp_path):
    changes = {
        "rho": 0.4,
        "datamodule.val_images": 7,
        "datamodule.num_workers": 50,
        "loss.mine": {"_target_": "mine.Mine", "weight": 1.0},
        "callbacks.mine": {"_target_": "mine.Callback"},
    }
    settings = evaluated(recorded, tmp_path / "run.ckpt", changes)
    assert settings["rho"] == settings["schedule"]["rho"] == 0.4
    assert settings["datamodule"]["val_images"] == 7
    assert settings["datamodule"]["num_workers"] == 0
    assert "mine" not in settings["loss"] | settings["task"]["loss"] | settings["callbacks"]
    assert settings["backbone"]["weights"] == str(tmp_path / "run.ckpt")


def test_what_is_typed_wins_over_a_record_that_would_be_refused(recorded, tmp_path):
    changes = {"datamodule.seed": "${oc.env:SECRET}", "datamodule.train_images": "s3://x"}
    typed = ["datamodule.seed=3", "datamodule.train_images=8"]
    settings = evaluated(recorded, tmp_path / "run.ckpt", changes, typed)
    assert settings["datamodule"]["seed"] in (3, "3")
    assert settings["datamodule"]["train_images"] in (8, "8")
