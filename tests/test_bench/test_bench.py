"""The benchmarks run and say what they promise; how fast anything is, is no test."""

import csv
from functools import partial

import pytest
import torch

from src.bench import __main__ as inference
from src.bench import data, steps, training
from src.errors import InputError
from src.measure import throughput
from src.measure.throughput import Speed, take_turns
from src.modules.teacher import Teacher

pytestmark = pytest.mark.slow


def rows_of(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_inference_writes_table_picture_and_circumstances(tmp_path, capsys):
    arguments = "--backbone vit_micro convnext_micro --rho 0.5 --batch 2 1 --channels-last"
    arguments += " --repeats 2 --seconds 0 --out"
    inference.main([*arguments.split(), str(tmp_path)])
    rows = rows_of(tmp_path)
    assert [(r["backbone"], r["batch_size"]) for r in rows] == [
        (name, batch) for name in ("vit_micro", "convnext_micro") for batch in "12"
    ]
    for row in rows:
        speedup, ratio = float(row["speedup"]), float(row["mac_ratio"])
        assert float(row["efficiency"]) == pytest.approx(speedup / ratio)
        assert ratio == pytest.approx(float(row["gmacs_dense"]) / float(row["gmacs"]))
        assert float(row["speedup_least"]) <= speedup <= float(row["speedup_most"])
        assert float(row["memory_mb"]) > 0
    assert (tmp_path / "speedups.png").stat().st_size > 1000
    assert '"threads"' in (tmp_path / "environment.json").read_text()
    assert "vit_micro DynamicViT rho=0.5: sparse" in capsys.readouterr().out


def test_compiled_networks_are_compared_with_timms_too(monkeypatch):
    rates = {"dense": 2.0, "sparse": 3.0, "timm": 1.0}

    def compare_speed(networks, *turns):
        assert networks["timm"] is networks["sparse"].network.backbone
        assert networks["timm"] is networks["dense"].network
        return {name: Speed((rates[name],)) for name in networks}

    monkeypatch.setattr(inference, "compare_speed", compare_speed)
    monkeypatch.setattr(inference, "peak_memory_mb", lambda *_: 1.0)
    (row,) = inference.measure("vit_micro", rho=0.5, batch_sizes=[2], compiled=True)
    assert (row["speedup"], row["speedup_over_timm"]) == (1.5, 3.0)


def test_what_one_call_leaves_behind_does_not_count_for_the_next(monkeypatch):
    clock, before = [0.0], [""]

    def call(name):
        clock[0] += 1.0 if before[0] == name else 5.0
        before[0] = name

    monkeypatch.setattr(throughput, "timer", lambda: clock[0])
    times = take_turns({name: partial(call, name) for name in "ab"}, repeats=3)
    assert times == {"a": (1.0,) * 3, "b": (1.0,) * 3}


def test_training_holds_less_than_the_explicit_way(tmp_path):
    arguments = "--backbone vit_micro --batch 2 --repeats 1 --out"
    training.main([*arguments.split(), str(tmp_path)])
    memory = {row["step"]: float(row["memory_mb"]) for row in rows_of(tmp_path)}
    assert memory["dense"] < memory["student"] < memory["student explicit"]
    assert memory["whole"] < memory["whole explicit"]
    compared = {row["step"] for row in rows_of(tmp_path) if row["explicit_over"]}
    assert compared == {"student", "whole"}
    assert memory["student removing"] < memory["student"]
    assert memory["whole removing"] < memory["whole"]


def test_a_stopped_benchmark_keeps_what_it_measured(tmp_path, monkeypatch):
    measured = training.measure

    def stopped(*arguments, batch_size, **options):
        if batch_size == 2:
            raise KeyboardInterrupt
        return measured(*arguments, batch_size=batch_size, **options)

    monkeypatch.setattr(training, "measure", stopped)
    arguments = "--backbone vit_micro --batch 1 2 --repeats 1 --out"
    with pytest.raises(KeyboardInterrupt):
        training.main([*arguments.split(), str(tmp_path)])
    assert {row["batch_size"] for row in rows_of(tmp_path)} == {"1"}


def test_compiled_networks_train_as_they_are(monkeypatch):
    """The dense network and both students run compiled, and leave out the released code's way."""
    compiled = []

    def compile_by_noting(run, mode):
        compiled.append(mode)
        return run

    monkeypatch.setattr(torch, "compile", compile_by_noting)
    place = {"batch_size": 1, "image_size": 64, "device": "cpu"}
    calls = steps.steps("vit_micro", rho=0.7, compile_mode="reduce-overhead", **place)
    assert compiled == ["reduce-overhead"] * 3
    assert set(calls) == {"dense", "student", "student removing", "whole", "whole removing"}
    for call in calls.values():
        call()


def test_training_of_slow_and_fast_paths_is_measured_too():
    place = {"batch_size": 2, "image_size": 80, "device": "cpu"}
    calls = steps.steps("swin_micro", rho=0.7, **place)
    assert set(calls) == {"dense", "student", "student removing", "whole", "whole removing"}
    for call in calls.values():
        call()


def test_the_released_way_keeps_a_teacher_of_full_precision(monkeypatch):
    asked = []

    class Noted(Teacher):
        def __call__(self, images):
            asked.append(self.dtype)
            return super().__call__(images)

    monkeypatch.setattr(steps, "Teacher", Noted)
    place = {"batch_size": 2, "image_size": 80, "device": "cpu"}
    calls = steps.steps("vit_micro", rho=0.7, teacher_precision="bf16", **place)
    calls["whole"]()
    calls["whole explicit"]()
    assert asked == [torch.bfloat16, None]


def test_data_compares_loading_with_training(tmp_path):
    overrides = "backbone=vit_micro datamodule.batch_size=4 datamodule.train_images=40"
    data.main([*overrides.split(), "--workers", "0", "--batches", "2", "--out", str(tmp_path)])
    (row,) = rows_of(tmp_path)
    faster = float(row["images_per_s"]) > float(row["step_images_per_s"])
    assert row["keeps_up"] == str(faster)


@pytest.mark.parametrize(
    ("program", "arguments", "sentence"),
    [
        (inference, "--batch 0", "--batch 0 must be a whole number from 1"),
        (inference, "--image-size 0", "image_size=0 must be a whole number from 1"),
        (inference, "--repeats 0", "--repeats 0 must be a whole number from 1"),
        (inference, "--seconds nan", "--seconds nan must be a finite number from 0"),
        (inference, "--seconds -1", "--seconds -1 must be a finite number from 0"),
        (inference, "--device foo", "--device foo is none that PyTorch computes on here"),
        (inference, "--device meta", "--device meta is none that PyTorch computes on here"),
        (inference, "--backbone nothing", "Could not find 'backbone/nothing'"),
        (training, "--batch -1", "--batch -1 must be a whole number from 1"),
        (training, "--repeats 0", "--repeats 0 must be a whole number from 1"),
        (training, "--seconds inf", "--seconds inf must be a finite number from 0"),
        (training, "--device foo", "--device foo is none that PyTorch computes on here"),
        (data, "--workers 1 -1", "--workers -1 must be a whole number from 0"),
        (data, "--batches 0", "--batches 0 must be a whole number from 1"),
        (data, "--device foo", "--device foo is none that PyTorch computes on here"),
        (data, "datamodule.batch_size=64 datamodule.train_images=64", "do not fill a second batch"),
    ],
)
def test_bad_input_is_told(program, arguments, sentence):
    with pytest.raises(InputError, match=sentence.replace("(", r"\(")):
        program.main(arguments.split())
