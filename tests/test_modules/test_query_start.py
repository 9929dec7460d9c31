"""Learned queries start from the class token's attention, as the equation in the docstring says."""

from __future__ import annotations

import lightning as L
import pytest
import timm
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset, IterableDataset

import src as tokenthrift
from src.callbacks.start_queries import StartQueries
from src.config import compose_config, instantiate
from src.errors import InputError
from src.modules.query_start import _Regression
from tests.helpers import ROOT, SHALLOW, run

TEACHER = ROOT / "assets" / "vit_micro_digits.safetensors"


def student(method: str = "query_absorb", rho: float = 0.5):
    torch.manual_seed(0)
    options = {"method": method, "rho": rho, "num_classes": 10, "weights": TEACHER}
    return tokenthrift.create_student("vit_micro", **options).eval()


@torch.no_grad()
def written_out(network, images, location):
    """The query of a location in plain tensors, by least squares over rows."""
    x = network.norm_pre(network._pos_embed(network.patch_embed(images)))
    total = 0
    for layer, block in enumerate(network.blocks):
        if layer == location:
            patches = F.layer_norm(x[:, 1:], x.shape[-1:])
        heads = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, block.attn.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        if layer >= location:
            row = (query[:, :, :1] @ key.transpose(-2, -1) * block.attn.scale).softmax(-1)
            row = (row[:, :, 0, 1:] * value[:, :, 1:].norm(dim=-1)).mean(1)
            total = total + row / row.sum(1, keepdim=True)
        x = block(x)
    target = total.log()
    target = (target - target.mean(1, keepdim=True)).flatten().double()
    rows = (patches - patches.mean(1, keepdim=True)).flatten(0, 1).double()
    ridge = (1e-3 * (rows.T @ rows).diagonal().mean()).sqrt() * torch.eye(rows.shape[1])
    found = torch.linalg.lstsq(
        torch.cat([rows, ridge.double()]),
        torch.cat([target, target.new_zeros(len(ridge))])[:, None],
    )
    return found.solution[:, 0].float()


def test_queries_are_those_of_the_equation():
    sparse = student()
    images = torch.randn(5, 3, 80, 80, generator=torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in sparse.state_dict().items()}
    explained = tokenthrift.start_queries(sparse, [images[:2], images[2:]])
    at_once = student()
    tokenthrift.start_queries(at_once, images)
    assert len(explained) == 3
    assert all(0.3 < share < 1 for share in explained)
    for number, location in enumerate(sparse.method.schedule.locations):
        wanted = written_out(sparse.backbone, images, location)
        found = sparse.method.selector.queries[number]
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found, at_once.method.selector.queries[number])
    changed = {k for k, v in sparse.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"method.selector.queries"}
    assert not sparse.training
    assert sparse.method.selector.queries.requires_grad


def test_a_student_with_started_queries_agrees_with_the_dense_network():
    """Half of the digits' patches serve it as all do, which half of them at random do not."""
    settings = compose_config(["experiment=demo", "datamodule.val_images=64"], ["datamodule"])
    data = instantiate(settings["datamodule"])
    images = torch.stack([data.val_dataset()[i][0] for i in range(64)])
    dense = student("dense")(images).logits.argmax(1)

    def agreement(sparse):
        return (sparse.predict(images).argmax(1) == dense).float().mean().item()

    cold, warm = student("cropr"), student("cropr")
    tokenthrift.start_queries(warm, [images])
    assert agreement(warm) > 0.9
    assert agreement(cold) < 0.6


def test_patches_without_attention_do_not_count():
    rows, targets = torch.randn(2, 6, 4), torch.randn(2, 6)
    some, padded = _Regression(4), _Regression(4)
    some.add(rows, targets)
    none = torch.full((2, 3), -torch.inf)
    padded.add(torch.cat([rows, torch.randn(2, 3, 4)], 1), torch.cat([targets, none], 1))
    for mine, theirs in zip(padded.solution(), some.solution(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("method", ["evit", "cropr"])
def test_what_has_no_queries_or_class_token_refuses(method):
    name = {"evit": "vit_tiny_patch16_224", "cropr": "vit_base_patch16_siglip_224"}[method]
    network = timm.create_model(name, img_size=32, depth=3, embed_dim=24, num_heads=2)
    sparse = tokenthrift.sparsify(network, method=method)
    with pytest.raises(InputError, match="has no queries to start from"):
        tokenthrift.start_queries(sparse, [torch.randn(1, 3, 32, 32)])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "there are none, or the network's features"),
        ([torch.full((1, 3, 80, 80), torch.nan)], "there are none, or the network's features"),
        ([torch.zeros(0, 3, 80, 80)], "which holds none"),
        (torch.zeros(3, 80, 80), "has the shape .* give"),
        ([(torch.zeros(1, 3, 80, 80), torch.zeros(1))], "is a tuple: give a tensor"),
        ([torch.zeros(1, 3, 80, 80).numpy()], "is a ndarray: give a tensor"),
        ([torch.zeros(1, 3, 80, 80, dtype=torch.uint8)], "is of torch.uint8: give normalized"),
        ([torch.zeros(1, 3, 80, 40)], "has the shape .*, which this network does not take"),
    ],
)
def test_images_that_give_no_features_are_refused(images, message):
    sparse = student()
    before = sparse.method.selector.queries.clone()
    with pytest.raises(InputError, match=message):
        tokenthrift.start_queries(sparse, images)
    assert torch.equal(sparse.method.selector.queries, before)


@pytest.fixture
def begun(tmp_path):
    """Set up a training with the callback; return the queries before and after, and the module."""

    def begin(*words, images=8, dataset=None):
        settings = compose_config(["debug=smoke", *SHALLOW, *words], ["task", "datamodule"])
        torch.manual_seed(0)
        module = instantiate(settings["task"], num_classes=10)
        before = module.student.method.selector.queries.detach().clone()
        trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path)
        trainer.datamodule = instantiate(settings["datamodule"])
        if dataset is not None:
            trainer.datamodule.plain_train_dataset = lambda: dataset
        random = torch.get_rng_state()
        StartQueries(images).setup(trainer, module, "fit")
        assert torch.equal(torch.get_rng_state(), random)
        return before, module.student.method.selector.queries.detach(), module

    return begin


def test_a_training_starts_new_queries(begun):
    before, after, module = begun("method=query_absorb")
    assert (after - before).abs().min() > 0
    assert after.isfinite().all()
    assert module.student.training


def test_queries_of_files_stay(begun, tmp_path):
    before, after, module = begun("method=query_absorb", images=0)
    assert torch.equal(before, after)
    file = tmp_path / "student.safetensors"
    module.student.save(file)
    before, after, _ = begun("method=query_absorb", f"backbone.weights={file}")
    assert torch.equal(before, after)
    assert not tokenthrift.load(file).method_is_new


@pytest.mark.slow
def test_a_resumed_training_does_not_start_them_again(tmp_path, caplog):
    command = [ROOT / "train.py", "debug=smoke", *SHALLOW, "method=cropr"]
    command += ["datamodule.num_workers=0", f"hydra.run.dir={tmp_path}"]
    caplog.set_level("INFO")
    assert run(command) == 0
    assert caplog.text.count("Queries start from") == 1
    assert run([*command, "ckpt_path=last", "trainer.max_epochs=3"]) == 0
    assert "max_epochs=3` reached" in caplog.text
    assert caplog.text.count("Queries start from") == 1


class Stream(IterableDataset):
    def __iter__(self):
        raise AssertionError("a stream is not read before the training")


def test_streams_are_left_for_the_training(begun):
    before, after, _ = begun("method=query_absorb", dataset=Stream())
    assert torch.equal(before, after)


def test_a_missing_photograph_is_named(begun, tmp_path):
    class Files(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, number):
            return torch.randn(3, 80, 80), (tmp_path / f"{number}.png").read_bytes()

    with pytest.raises(InputError, match="cannot be read"):
        begun("method=query_absorb", dataset=Files())
