"""Every bad input ends in one sentence that names it, and without a traceback: a table of them."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import shlex
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save

from src import create_student, load_weights, sparsify
from src.config import compose_config, instantiate
from src.modules.backbones import SparseBackbone
from src.shell.program import one_sentence_errors
from tests.helpers import ROOT, one_process, run

# Before the case's own words: the smallest network, few steps, nothing that takes time.
SMALL = (
    "trainer=cpu trainer.max_epochs=2 +trainer.limit_train_batches=2 "
    "+trainer.limit_val_batches=1 backbone.weights=null datamodule.batch_size=2 "
    "optimizer.warmup_epochs=0 callbacks.freeze_backbone.epochs=0 callbacks.throughput=null "
    "callbacks.complexity=null callbacks.token_maps=null callbacks.progress=null"
)
PHOTOS = (
    "datamodule=imagenet datamodule.mixup=null datamodule.num_workers=0 "
    "~trainer.limit_train_batches datamodule.root="
)
MASKS = "task=segmentation backbone=swin_micro datamodule=masks datamodule.root={white}"
# Before the words of eval.py.
SHOWN = (
    "backbone.weights=null trainer=cpu callbacks.progress=null throughput_batch=1 "
    "backbone=vit_micro"
)
NUMBERED = "hydra.sweep.subdir=${{hydra:job.num}}"
SPLITS = ("train", "val")
RECORDS = (".yaml", ".log", ".lock", "failure.txt")  # what was asked for and what became of it
WIDE = "+backbone.options.embed_dim=48"


class Case(NamedTuple):
    """`call` is a command line, `{name}` standing for a file, or a function of the files."""

    id: str
    call: str | Callable[[dict[str, Path]], object]
    fragments: tuple[str, ...]


@cache
def settings() -> dict[str, Any]:
    return compose_config(["datamodule=imagenet", "backbone=vit_micro"], ["datamodule"])


def looks(name: str) -> Callable[[dict[str, Path]], object]:
    """Check and read every image of a folder."""

    def look(files: dict[str, Path]) -> None:
        small = {"root": str(files[name]), "batch_size": 2, "num_workers": 0, "mixup": None}
        data = instantiate(settings()["datamodule"] | small)
        data.check()
        data.setup("fit")
        for loader in (data.train_dataloader(), data.val_dataloader()):
            list(loader)

    return look


@cache
def student() -> SparseBackbone:
    return create_student("vit_micro", method="dynamicvit")


def loads(name: str) -> Callable[[dict[str, Path]], object]:
    """Load a file into the smallest network."""
    return lambda files: load_weights(student(), files[name])


def case(id: str, call: str | Callable[[dict[str, Path]], object], *fragments: str) -> Case:
    return Case(id, call, fragments)


CASES = [
    # The dial.
    case("rho zero", "train.py rho=0", "rho=0 must be", "0.7"),
    case("rho above one", "train.py rho=1.5", "rho=1.5 must be", "up to 1"),
    case("rho a word", "train.py rho=abc", "rho=abc must be"),
    case("rho null", "train.py rho=null", "rho=null must be"),
    case("rho negative", "train.py rho=-0.3", "rho=-0.3 must be"),
    case("rho in eval", "eval.py rho=2 backbone.weights=null", "rho=2 must be"),
    case("a sweep without -m", "train.py rho=0.5,0.7", "'rho=0.5,0.7'", "-m"),
    case(
        "jobs of a sweep",
        f"train.py -m rho=0.7,1.5 trainer.max_epochs=0 {NUMBERED}",
        "2 cells have a failure.txt",
        "rho=1.5 must be",
    ),
    # The command line.
    case("no such backbone", "train.py backbone=resnet", "backbone=resnet does not", "deit_s"),
    case("no such backbone in eval", "eval.py backbone=resnet", "backbone=resnet", "deit_s"),
    case("no such method", "train.py method=magic", "method=magic does not", "dynamicvit"),
    case("no such schedule", "train.py schedule=magic", "schedule=magic does not", "geometric"),
    case("no such data", "train.py datamodule=cifar", "datamodule=cifar does not", "digits"),
    case("no such experiment", "train.py experiment=mine", "experiment=mine does not"),
    case("no such callbacks", "train.py callbacks=[default,mine]", "callbacks=mine does not"),
    case("misspelt key", "train.py trainer.epochs=3", "trainer.epochs is not", "mean max_epochs?"),
    case("misspelt group", "train.py backbon=deit_s", "backbon is not a setting", "backbone?"),
    case(
        "unknown optimizer key",
        "train.py +optimizer.momentum=1",
        "optimizer.momentum is",
        "betas, ",
    ),
    case("unknown backbone key", "train.py +backbone.embed_dim=9", "backbone.embed_dim", "options"),
    case("unknown data key", "train.py +datamodule.tint=1", "Digits has no setting tint"),
    case("unknown trainer key", "train.py +trainer.tint=1", "lightning.Trainer has no", "tint"),
    case("a group is null", "train.py callbacks=null", "group", "null"),
    case("a group is empty", "train.py loss=[]", "loss is empty"),
    case("a word without =", "train.py rho", "'rho' on the command line"),
    case("an open bracket", "train.py schedule.locations=[3", "'schedule.locations=[3'"),
    case("an empty interpolation", "train.py 'rho=${{ratio}}'", "'ratio' not found"),
    case("no such target", "train.py method._target_=src.magic.Magic", "_target_=src.magic.Magic"),
    case("a part is a number", "train.py callbacks.last=3", "callbacks.last=3 must be"),
    case("an empty path", "train.py datamodule.root=", "datamodule.root= lacks a path", "null"),
    case("a path that is =x", "eval.py ckpt_path==x", "no weights file =x"),
    case("no such path", "train.py 'ckpt_path=/no (1)/ü=,.ckpt'", "ckpt_path=/no (1)/ü=,.ckpt is"),
    case("a key without =", "train.py datamodule.root", "'datamodule.root' on the command line"),
    case("no key", "train.py =x", "=x"),
    case(
        "one output for all cells",
        "eval.py -m rho=0.5,0.7 predictions=p.csv",
        "predictions=p.csv is one path",
        "${{paths.run}}/p.csv",
    ),
    # The schedule.
    case("beyond the network", "train.py schedule.locations=[3,6,12]", "[3, 6, 12]", "12 blocks"),
    case(
        "longer than the network",
        "train.py schedule.locations=[0,1,2,3,4,5,6,7,8,9,10,11,12]",
        "12 blocks",
    ),
    case("descending", "train.py schedule.locations=[6,3,9]", "[6, 3, 9] must ascend"),
    case("negative block", "train.py schedule.locations=[-1,3]", "[-1, 3] has -1"),
    case("half a block", "train.py schedule.locations=[3.5,6]", "has 3.5", "whole"),
    case("a block by name", "train.py schedule.locations=[a]", "has 'a'", "whole"),
    case("no list", "train.py schedule.locations=3", "schedule.locations=3 must be a list"),
    case(
        "rising ratios",
        "train.py schedule=explicit schedule.ratios=[0.5,0.7,0.9]",
        "rises from 0.5 to 0.7",
    ),
    case("too few ratios", "train.py schedule=explicit schedule.ratios=[0.5]", "has 1 entries"),
    case(
        "ratio above one",
        "train.py schedule=explicit schedule.ratios=[1.2,0.7,0.5]",
        "ratio 1.2 at location 2",
    ),
    case("no ratios", "train.py schedule=explicit", "schedule.ratios has no value"),
    case("below zero", "train.py schedule=arithmetic rho=0.3", "-0.1 at location 8"),
    # The data.
    case("no root", "train.py datamodule=imagenet", "datamodule.root is not set"),
    case("smoke without root", "train.py debug=smoke datamodule=imagenet", "datamodule.root is"),
    case("root nowhere", f"train.py {PHOTOS}{{missing}}", "{missing} is not a folder"),
    case("root a file", f"train.py {PHOTOS}{{text_pth}}", "{text_pth} is not a folder"),
    case("empty class", f"train.py {PHOTOS}{{empty_class}}", "without images", "dog"),
    case("classes differ", f"train.py {PHOTOS}{{other_classes}}", "same classes", "bird, dog"),
    case("text first", f"train.py {PHOTOS}{{text_first}}", "a.JPEG cannot be read"),
    case("text later", f"train.py {PHOTOS}{{text_later}}", "b.JPEG cannot be read"),
    case(
        "text in a worker",
        f"train.py {PHOTOS}{{text_later}} datamodule.num_workers=1",
        "b.JPEG cannot be read",
    ),
    case("half an image", f"train.py {PHOTOS}{{half_image}}", "b.JPEG cannot", "truncated"),
    case("no such augmentation", f"train.py {PHOTOS}{{photos}} datamodule.auto_augment=x", "=x "),
    case(
        "neither error nor skip",
        f"train.py {PHOTOS}{{photos}} datamodule.on_bad_image=maybe",
        "on_bad_image=maybe must be error or skip",
    ),
    case(
        "too many to skip",
        f"train.py {PHOTOS}{{mostly_text}} datamodule.on_bad_image=skip",
        "of 8 images cannot be read",
        "up to 10%",
    ),
    case(
        "shards by a command",
        f"train.py {PHOTOS}'pipe:touch {{marker}}' datamodule.dataset=wds/x",
        "datamodule.dataset=wds/x needs",
    ),
    # Images.
    case("no bytes", looks("no_bytes"), "a.JPEG cannot be read", "no image format"),
    case("a huge header", looks("huge"), "a.JPEG cannot be read", "exceeds limit"),
    case("a large header", looks("large"), "a.JPEG cannot be", "12000 x 12000 pixels"),
    case("a program", looks("program"), "a.JPEG cannot be", "no image format"),
    case("a checksum", looks("checksum_png"), "b.JPEG cannot be read", "checksum"),
    case("half a PNG", looks("half_png"), "b.JPEG cannot be read", "truncated"),
    case("half a GIF", looks("half_gif"), "b.JPEG cannot be read"),
    case("half a WebP", looks("half_webp"), "b.JPEG cannot be read"),
    case("a folder as image", looks("folder"), "without images", "dog"),
    case("an archive as image", looks("zipped"), "a.JPEG cannot", "no image format"),
    case(
        "an image that is in no validation",
        f"eval.py {SHOWN} {PHOTOS}{{half_val}}",
        "b.JPEG cannot be read",
        "truncated",
    ),
    case(
        "another number of folders",
        f"train.py {PHOTOS}{{photos}} datamodule.num_classes=7",
        "datamodule.num_classes=7 is not the number of class folders",
    ),
    case(
        "mixup of masks",
        "train.py task=segmentation backbone=swin_micro datamodule=digits_scenes "
        "+datamodule.mixup={{mixup_alpha:0.8}}",
        "mixes images of one label each",
        "datamodule.mixup=null",
    ),
    case("seed negative", "train.py datamodule=imagenet seed=-1", "seed=-1 must be a whole number"),
    case("batch zero", "train.py datamodule.batch_size=0", "batch_size=0 must be"),
    case(
        "odd batch and mixup",
        "train.py datamodule=imagenet datamodule.batch_size=3",
        "batch_size=3 is odd",
        "mixup=null",
    ),
    case("batch above the digits", "train.py datamodule.batch_size=30000", "batch_size=30000"),
    case(
        "batch above the photographs",
        f"train.py {PHOTOS}{{photos}} datamodule.batch_size=64",
        "batch_size=64 is more than the 8",
    ),
    case(
        "no such mixup",
        "train.py datamodule=imagenet +datamodule.mixup.strength=3",
        "'strength': 3",
    ),
    case(
        "mixup by words",
        "train.py '+datamodule.mixup={{mixup_alpha: much}}'",
        "datamodule.mixup.mixup_alpha=much must be a number from 0",
    ),
    case("images a word", "train.py datamodule.train_images=abc", "train_images=abc must be"),
    case("no named data", "train.py datamodule=imagenet datamodule.dataset=x/y", "dataset=x/y"),
    # Masks and boxes.
    case(
        "masks in white",
        f"train.py {MASKS} datamodule.num_classes=2",
        "{white}/annotations/training has masks of 0 and 255 only",
        "datamodule.values=[0,255]",
    ),
    case(
        "one class of pixels",
        f"train.py {MASKS} datamodule.num_classes=1",
        "datamodule.num_classes=1 must be a whole number from 2 to 255",
    ),
    case(
        "a polygon far away",
        "train.py task=detection backbone=swin_micro datamodule=coco datamodule.root={far_away}",
        "{far_away}/annotations/instances_val2017.json: annotation 1 has a polygon with a corner",
    ),
    # The network and its weights.
    case(
        "split patches", "train.py backbone.image_size=225", "image_size=225 is not", "224 or 232"
    ),
    case(
        "split patches of DeiT",
        "train.py backbone=deit_t datamodule=digits backbone.pretrained=false "
        "backbone.image_size=225",
        "image_size=225 is not",
        "224 or 240",
    ),
    case(
        "split windows",
        "train.py backbone=swin_micro backbone.image_size=96",
        "image_size=96 makes a map of 24x24 positions",
        "windows of 5x5",
        "choose 80 or 160",
    ),
    case(
        "tokens of a feature map",
        "train.py backbone=swin_micro method=dynamicvit",
        "SwinTransformer needs its complete feature map",
        "method=asymmetric",
    ),
    case(
        "paths of a plain transformer",
        "train.py method=asymmetric",
        "VisionTransformer is a plain transformer",
        "method=dynamicvit",
    ),
    case(
        "no such fast path",
        "train.py backbone=convnext_micro method.fast_path=none",
        "fast_path='none'",
        "identity, linear, mlp",
    ),
    case(
        "no fast path to choose", "train.py +method.fast_path=mlp", "Selection has no setting fast"
    ),
    case(
        "beyond the third stage",
        "train.py backbone=swin_micro schedule.locations=[1,2,9]",
        "asks for block 9",
        "6 blocks",
    ),
    case(
        "no auxiliary loss",
        "train.py method=cropr loss=classification",
        "learn from an auxiliary loss",
        "loss=dynamicvit",
    ),
    case(
        "no auxiliary loss of maps",
        "train.py task=segmentation backbone=swin_micro method=query_paths loss.auxiliary=null",
        "learn from an auxiliary loss",
        "loss=segmentation",
    ),
    case(
        "an auxiliary classifier of maps",
        "train.py task=detection backbone=swin_micro method=query_paths "
        "loss.auxiliary._target_=src.modules.auxiliary.AuxiliaryDistillation",
        "AuxiliaryDistillation needs a network that classifies",
        "_target_=src.modules.auxiliary.AuxiliaryFeatures",
    ),
    case(
        "a loss from which the method cannot learn",
        "train.py method=random loss.classification=null loss.keep_ratio=null "
        "loss.logit_distillation=null loss.token_distillation=null",
        "The loss is auxiliary alone",
        "loss=dynamicvit",
    ),
    case("no token logits", "train.py loss=lvvit", "does not classify each token", "=dynamicvit"),
    case(
        "weights of a ViT for a Swin",
        "train.py backbone=swin_micro backbone.weights={dense}",
        "{dense} does not fit",
        "missing backbone.",
    ),
    case(
        "weights of a Swin for a ConvNeXt",
        "train.py backbone=convnext_micro backbone.weights={swin}",
        "{swin} does not fit",
        "missing backbone.",
    ),
    case(
        "weights of a ConvNeXt for a Swin",
        "train.py backbone=swin_micro backbone.weights={convnext}",
        "{convnext} does not fit",
        "missing backbone.",
    ),
    case(
        "weights of a Swin for a ViT",
        "train.py backbone.weights={swin}",
        "{swin} does not fit",
        "missing backbone.",
    ),
    case("no such network", "train.py backbone.network=foo", "backbone.network='foo'"),
    case("no such option", "train.py +backbone.options.tint=1", "'tint': 1", "vit_micro"),
    case("network null", "train.py backbone.network=null", "backbone.network=null must be"),
    case("no switch", "train.py backbone.pretrained=maybe", "=maybe must be true or false"),
    case("too many heads", "train.py +backbone.options.num_heads=5", "'num_heads': 5"),
    case("no download", "train.py backbone=deit_t datamodule=digits", "cannot be downloaded"),
    case("no weights file", "train.py backbone.weights={missing}", "{missing} is not a file"),
    case(
        "another width",
        "train.py backbone.weights={wide}",
        "misshaped backbone.cls_token is (1, 1, 48)",
    ),
    case("truncated", "train.py backbone.weights={truncated}", "{truncated} is not a whole"),
    case("runs code", "train.py backbone.weights={evil}", "{evil} is refused"),
    case("runs old code", "train.py backbone.weights={old_evil}", "{old_evil} is refused"),
    case("empty file", "train.py backbone.weights={empty_pth}", "{empty_pth} is not a whole"),
    case("text as .pth", "train.py backbone.weights={text_pth}", "{text_pth} is not a whole"),
    case("zip as .pth", "train.py backbone.weights={zip_pth}", "{zip_pth} is not a whole"),
    case(
        "garbage as .safetensors",
        "train.py backbone.weights={text_safetensors}",
        "{text_safetensors} is not a whole",
    ),
    case("no weights inside", "train.py backbone.weights={config_only}", "holds no weights"),
    case("a list inside", "train.py backbone.weights={list_inside}", "holds a list"),
    case("a zip bomb", loads("zip_bomb"), "would unpack to 50,000,"),
    case("a wrong checksum", loads("checksum"), "checksum of its part", "data/"),
    case("a program as weights", loads("script"), "{script} is not a whole"),
    case("larger than its file", loads("expanded"), "head.weight as (10000000, "),
    case("sparse weights", loads("sparse"), "norm.weight in a form without"),
    case("weights of nowhere", loads("meta"), "norm.weight in a form without"),
    case("whole numbers", loads("integers"), "norm.weight is torch.int64"),
    case("diverged", loads("diverged"), "not finite in backbone.norm.weight"),
    case(
        "diverged .safetensors",
        loads("diverged_safetensors"),
        "not finite in backbone.norm.weight",
    ),
    case("code as .safetensors", loads("evil_safetensors"), "not a whole"),
    case("an endless header", loads("header_safetensors"), "not a whole"),
    case("half a .safetensors", loads("half_safetensors"), "not a whole"),
    case(
        "weights by timm",
        "train.py +backbone.options.checkpoint_path={evil}",
        "backbone.options.checkpoint_path would",
        "backbone.weights=FILE",
    ),
    # Resuming and evaluating.
    case("resume nothing", "train.py ckpt_path={missing}", "{missing} is not a file"),
    case("resume weights", "train.py ckpt_path={dense}", "no state", "backbone.weights"),
    case("resume another network", f"train.py ckpt_path={{run}} {WIDE}", "{run} does not fit"),
    case("resume code", "train.py ckpt_path={evil}", "{evil} is refused"),
    case(
        "resume an older run",
        "train.py ckpt_path={run} trainer.max_epochs=1",
        "trained for 2 epochs",
        "max_epochs=1",
    ),
    case("resume old code", "train.py ckpt_path={old_evil}", "{old_evil} is refused"),
    case("resume the diverged", "train.py ckpt_path={diverged_run}", "not finite in backbone."),
    case("resume without epochs", "train.py ckpt_path={no_epochs}", "not say for how many epochs"),
    case(
        "resume and delete", "train.py ckpt_path={deleting}", "../precious.txt a checkpoint of its"
    ),
    case("resume and delete afar", "train.py ckpt_path={deleting_afar}", "s3://bucket/precious a"),
    case("eval nothing", "eval.py ckpt_path={missing}", "no weights file {missing}"),
    case("eval weights of code", f"eval.py {SHOWN} backbone.weights={{evil}}", "{evil} is refused"),
    case("eval another's target", "eval.py ckpt_path={target}", "datamodule._target_=os.mkdir"),
    case("eval a hidden target", "eval.py ckpt_path={hidden}", "_target_=src.errors.os.mkdir"),
    case("eval a target by resolver", "eval.py ckpt_path={resolver}", "method='${{oc.create:"),
    case(
        "eval another's file", "eval.py ckpt_path={climbing}", "backbone=../../climbed, which is no"
    ),
    case("eval no record", "eval.py ckpt_path={no_record}", "a record of its run without rho"),
    case("export code", "export.py ckpt_path={evil}", "{evil} is refused"),
    case("export weights of code", "export.py backbone.weights={evil}", "{evil} is refused"),
    case("export another's target", "export.py ckpt_path={target}", "_target_=os.mkdir"),
    case(
        "export to a text", "export.py backbone.weights=null file=a.txt", "file=a.txt must end in"
    ),
    case("eval code", "eval.py ckpt_path={evil}", "{evil} is refused"),
    case("eval truncated", "eval.py ckpt_path={truncated}", "{truncated} is not a whole"),
    case("eval no weights", "eval.py ckpt_path={config_only}", "holds no weights"),
    case(
        "eval other classes",
        "eval.py ckpt_path={run} datamodule=imagenet datamodule.root={photos}",
        "is for 10 classes, but the data has 2",
    ),
    case(
        "eval without a predictor",
        "eval.py ckpt_path={released} backbone=vit_micro method=dynamicvit",
        "missing method.selector.predictors.2",
    ),
    case(
        "eval one method",
        "eval.py backbone.weights=null disagreement=a.png",
        "disagreement=a.png",
        "method@against=",
    ),
    case(
        "eval dense against",
        "eval.py backbone.weights=null trainer=cpu datamodule.val_images=2 callbacks.progress=null "
        "method=dense method@against=evit disagreement=a.png",
        "needs two methods that decide in the same blocks",
    ),
    case(
        "eval image of no number",
        "eval.py backbone.weights=null images=5",
        "images=5 must be a list",
        "[0,5]",
    ),
    case(
        "eval no such image",
        "eval.py backbone.weights=null images=[0,2000]",
        "images=[0, 2000]",
        "from 0 to 1999",
    ),
    case(
        "eval no throughput",
        "eval.py throughput_batch=0 backbone.weights=null",
        "throughput_batch=0 must be",
    ),
    # Training.
    case(
        "negative weight",
        "train.py loss.keep_ratio.weight=-1",
        "loss.keep_ratio.weight=-1 must be",
    ),
    case(
        "no weight at all",
        "train.py loss=classification loss.classification.weight=0",
        "Every loss weight is 0",
    ),
    case("one beta", "train.py optimizer.betas=[0.9]", "optimizer.betas=[0.9] must be two"),
    case("no epochs", "train.py trainer.max_epochs=0", "trainer.max_epochs=0 must be"),
    case("no precision", "train.py trainer.precision=nonsense", "precision=nonsense", "16-mixed"),
    case("no devices", "train.py trainer.devices=0", "devices=0"),
    case("no such device", "train.py trainer.accelerator=abacus", "accelerator=abacus", "cpu"),
    case("no such metric", "train.py monitor=val/foo", "monitor=val/foo", "val/acc1 or val/acc5"),
    case("no place", "train.py hydra.run.dir=/dev/null/run", "/dev/null/run cannot be written"),
    case("save by words", "train.py callbacks.recent.steps=often", "recent.steps=often must be"),
    case("no class", "train.py '+callbacks.mine={{rate: 1}}'", "{{'rate': 1}} lack _target_"),
    case("no such mode", "train.py callbacks.checkpoint.mode=most", "mode=most", "min, max"),
    case("no logger for the rate", "train.py logger=[]", "LearningRateMonitor"),
    case("half weights", "train.py trainer.precision=bf16-true", "precision=bf16-true", "32-true"),
    case("half weights in eval", f"eval.py {SHOWN} trainer.precision=16-true", "bf16-mixed or"),
    case(
        "masks in 8 bits",
        "export.py task=segmentation backbone.weights=null int8=true",
        "int8=True measures top-1",
        "int8=false",
    ),
    case(
        "boxes as a graph",
        "export.py task=detection backbone=swin_micro backbone.weights=null",
        "cannot be exported",
        "RetinaNet",
    ),
    # Python.
    case("unknown name", lambda files: create_student("nope"), "backbone='nope'", "deit_s"),
    case(
        "unknown method",
        lambda files: create_student("vit_micro", method="nope"),
        "method='nope'",
        "dynamicvit",
    ),
    case("rho of an API", lambda files: create_student("vit_micro", rho=1.5), "rho=1.5"),
    case(
        "wrong number of ratios",
        lambda files: create_student("vit_micro", ratios=(0.5, 0.3)),
        "has 2 entries for the 3",
    ),
    case(
        "a convolutional network",
        lambda files: sparsify(timm.create_model("resnet18")),
        "ResNet is not a network that can be sparsified",
        "VisionTransformer",
    ),
    case(
        "a network that mixes in its MLP",
        lambda files: sparsify(timm.create_model("convnextv2_atto")),
        "global response norm",
        "first version",
    ),
    case(
        "load code",
        lambda files: load_weights(create_student("vit_micro"), files["evil"]),
        "{evil} is refused",
    ),
    case(
        "create from code",
        lambda files: create_student("vit_micro", weights=files["evil"]),
        "{evil} is refused",
    ),
    case(
        "load another width",
        lambda files: load_weights(create_student("vit_micro"), files["wide"]),
        "misshaped backbone.",
        "instead of",
    ),
    case(
        "rho beside ratios",
        lambda files: create_student("vit_micro", rho=0.5, ratios=(0.7, 0.5, 0.3)),
        "rho=0.5 and ratios=(0.7, 0.5, 0.3)",
    ),
    case(
        "ratios beside a schedule",
        lambda files: create_student("vit_micro", schedule="linear", ratios=(0.7, 0.5, 0.3)),
        "schedule='linear' and ratios=",
    ),
    case(
        "one ratio for a list",
        lambda files: create_student("vit_micro", ratios=0.7),
        "ratios=0.7 must be a list",
    ),
    case(
        "load strange keys",
        lambda files: load_weights(create_student("vit_micro"), files["strange"]),
        "missing backbone.norm.bias",
        "unexpected backbone.extra",
    ),
]
if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
    CASES.append(case("no GPU", "train.py trainer.accelerator=gpu", "accelerator=gpu", "=cpu"))
    CASES.append(case("no GPUs", "train.py trainer=ddp", "accelerator=gpu", "=cpu"))


class Evil:
    """Unpickling it would make a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files that the table names, made once."""
    root = tmp_path_factory.mktemp("files")
    named = {name: root / name for name in ("missing", "marker")}

    for name in ("photos", "empty_class", "other_classes", "text_first", "text_later"):
        named[name] = write_photos(root / name)
    named["half_image"] = write_photos(root / "half_image")
    for split in SPLITS:
        for photo in (named["empty_class"] / split / "dog").iterdir():
            photo.unlink()
    (named["other_classes"] / "val" / "dog").rename(named["other_classes"] / "val" / "bird")
    (named["text_first"] / "train" / "cat" / "a.JPEG").write_text("no image")
    (named["text_later"] / "train" / "dog" / "b.JPEG").write_text("no image")
    half = named["half_image"] / "train" / "dog" / "b.JPEG"
    half.write_bytes(half.read_bytes()[:600])
    named |= write_odd_photos(root) | write_odd_targets(root)

    student = create_student("vit_micro", method="dynamicvit")
    dense = student.backbone.state_dict()
    heads = {
        f"score_predictor.{k}": v
        for k, v in student.method.selector.predictors.state_dict().items()
    }
    heads.pop(next(key for key in heads if key.startswith("score_predictor.2.")))
    wide = timm.create_model("vit_micro_patch8_80", embed_dim=48).state_dict()
    strange = {**dense, "extra": torch.zeros(1)}
    del strange["norm.bias"]
    norm = dense["norm.weight"]
    contents: dict[str, object] = {
        "dense": dense,
        "swin": create_student("swin_micro").backbone.state_dict(),
        "convnext": create_student("convnext_micro").backbone.state_dict(),
        "wide": wide,
        "released": {"model": {**dense, **heads}},
        "strange": strange,
        "config_only": {"epoch": 3, "config": {"rho": 0.7}},
        "list_inside": [torch.zeros(1)],
        "evil": {"state_dict": Evil(named["marker"])},
        "expanded": {**dense, "head.weight": torch.zeros(1).expand(10**7, 96)},
        "sparse": {**dense, "norm.weight": norm.to_sparse()},
        "meta": {**dense, "norm.weight": norm.to("meta")},
        "integers": {**dense, "norm.weight": norm.long()},
        "diverged": {**dense, "norm.weight": norm / 0},
    }
    for name, content in contents.items():
        named[name] = root / f"{name}.pth"
        torch.save(content, named[name])
    named["old_evil"] = root / "old_evil.pth"
    named["old_evil"].write_bytes(pickle.dumps({"state_dict": Evil(named["marker"])}, protocol=2))
    named["truncated"] = root / "truncated.pth"
    whole = named["dense"].read_bytes()
    named["truncated"].write_bytes(whole[: len(whole) // 2])
    for name, content in (("empty", b""), ("text", b"just text\n"), ("zip", gzip.compress(b"x"))):
        named[f"{name}_pth"] = root / f"{name}.pth"
        named[f"{name}_pth"].write_bytes(content)
    named["text_safetensors"] = root / "text.safetensors"
    named["text_safetensors"].write_text("just text\n")
    for name, content in (
        ("diverged", save(contents["diverged"])),
        ("half", save(dense)[:100_000]),
        ("header", (2**60).to_bytes(8, "little") + b"{}"),
        ("evil", named["old_evil"].read_bytes()),
    ):
        named[f"{name}_safetensors"] = root / f"{name}.safetensors"
        named[f"{name}_safetensors"].write_bytes(content)
    for name in ("zip_bomb", "checksum", "script"):
        named[name] = root / f"{name}.pth"
    with zipfile.ZipFile(named["zip_bomb"], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(50_000_000))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    named["checksum"].write_bytes(flipped)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), named["script"])

    with one_process(root):
        assert run([ROOT / "train.py", *SMALL.split(), f"hydra.run.dir={root / 'run'}"]) == 0
    named["run"] = root / "run" / "checkpoints" / "last.ckpt"
    return named | write_odd_runs(root, named["run"], named["marker"])


def write_odd_photos(root: Path) -> dict[str, Path]:
    """Folders of photographs, one of which is not what its name says."""
    named = {}

    def spoil(name: str, content: bytes, file: str = "train/dog/b.JPEG") -> None:
        named[name] = write_photos(root / name)
        (named[name] / file).write_bytes(content)

    first = "train/cat/a.JPEG"
    spoil("no_bytes", b"", first)
    spoil("huge", png_header(60_000), first)
    spoil("large", png_header(12_000), first)
    spoil("program", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", first)
    spoil("zipped", gzip.compress(b"x"), first)
    noise = Image.effect_noise((48, 40), 40)
    whole = {kind: encoded(noise, kind) for kind in ("PNG", "GIF", "WEBP", "JPEG")}
    for kind in ("PNG", "GIF", "WEBP"):
        spoil(f"half_{kind.lower()}", whole[kind][: len(whole[kind]) // 2])
    spoil("half_val", whole["JPEG"][:600], "val/dog/b.JPEG")
    broken = bytearray(whole["PNG"])
    broken[29] ^= 1  # in the checksum of its header
    spoil("checksum_png", bytes(broken))
    named["folder"] = write_photos(root / "folder")
    named["mostly_text"] = write_photos(root / "mostly_text")
    for number, photo in enumerate(sorted((named["mostly_text"] / "train").glob("*/*"))):
        if number:
            photo.write_text("no image")
    for photo in (named["folder"] / "train" / "dog").iterdir():
        photo.unlink()
        photo.mkdir()
    return named


def write_odd_targets(root: Path) -> dict[str, Path]:
    """Masks whose object is white, and a polygon that reaches far out of its image."""
    named = {"white": root / "white", "far_away": root / "far_away"}
    image = Image.new("RGB", (40, 40))
    mask = Image.new("L", (40, 40))
    mask.paste(255, (10, 10, 30, 30))
    for split in ("training", "validation"):
        for tree, picture, suffix in (("images", image, "jpg"), ("annotations", mask, "png")):
            folder = named["white"] / tree / split
            folder.mkdir(parents=True)
            for number in range(2):
                picture.save(folder / f"{number}.{suffix}")
    content = {
        "images": [{"id": 1, "file_name": "0.jpg", "width": 40, "height": 40}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
            | {"segmentation": [[0, 0, 1e9, 0, 1e9, 1e9, 0, 1e9]]}
        ],
    }
    for split in ("train2017", "val2017"):
        (named["far_away"] / split).mkdir(parents=True)
        image.save(named["far_away"] / split / "0.jpg")
        path = named["far_away"] / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return named


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def png_header(side: int) -> bytes:
    """A file of 57 bytes that declares an image of `side` x `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        size, checksum = len(content), zlib.crc32(kind + content)
        return struct.pack(">I", size) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", b""), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_odd_runs(root: Path, run: Path, marker: Path) -> dict[str, Path]:
    """Checkpoints of a run, whose record or state somebody has changed."""
    named = {}

    def change(name: str, edit: Callable[[dict[str, Any]], object]) -> None:
        content = torch.load(run, weights_only=True)
        edit(content)
        named[name] = root / f"{name}.ckpt"
        torch.save(content, named[name])

    mkdir = {"_target_": "os.mkdir", "path": str(marker)}
    hidden = {**mkdir, "_target_": "src.errors.os.mkdir"}
    resolver = '${oc.create:"{_target_: os.mkdir, path: ' + f'{marker}}}"}}'
    change("target", lambda c: c["run"]["config"].update(datamodule=mkdir))
    change("hidden", lambda c: c["run"]["config"].update(schedule=hidden))
    change("resolver", lambda c: c["run"]["config"].update(method=resolver))
    change("climbing", lambda c: c["run"]["choices"].update(backbone="../../climbed"))
    change("no_record", lambda c: c["run"].update(config={}))
    change("no_epochs", lambda c: c["loops"]["fit_loop"].clear())
    change("diverged_run", lambda c: next(iter(c["state_dict"].values())).fill_(torch.inf))
    for name, place in (
        ("deleting", f"{run.parent}/../precious.txt"),
        ("deleting_afar", "s3://bucket/precious"),
    ):
        change(
            name,
            lambda c, place=place: next(
                state for state in c["callbacks"].values() if "best_model_path" in state
            ).update(best_model_path=place),
        )
    return named


def write_photos(root: Path) -> Path:
    for split in SPLITS:
        for shade, name in enumerate(("cat", "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for letter in "abcd":
                Image.effect_noise((48, 40), 40 + shade).save(folder / f"{letter}.JPEG")
    return root


def words(call: str, files: dict[str, Path]) -> list[object]:
    script, *overrides = shlex.split(call.format(**files))
    small = SMALL.split() if script == "train.py" and "debug=smoke" not in overrides else []
    dropped = {word.removeprefix("~") for word in overrides if word.startswith("~")}
    kept = [word for word in small if word.lstrip("+").partition("=")[0] not in dropped]
    own = [word for word in overrides if not word.startswith("~")]
    options = [word for word in own if word.startswith("-")]
    return [ROOT / script, *options, *kept, *(word for word in own if word not in options)]


def sentence_in(stderr: str) -> str:
    """The last line of `stderr`, which must be the one sentence; a sweep has one for each cell."""
    lines = stderr.strip().splitlines()
    last = lines[-1]
    assert last.startswith("error: "), stderr
    assert sum(line.startswith("error: ") and "failure.txt" not in line for line in lines) <= 1
    assert last.endswith("."), last
    assert not re.search(r"[.!] [A-Z]", last), f"more than one sentence: {last}"
    return last


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own, and no model hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with one_process(tmp_path):
        yield


@pytest.mark.usefixtures("apart")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_one_sentence(
    case: Case, files: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    if isinstance(case.call, str):
        code = run(words(case.call, files))
    else:
        with pytest.raises(SystemExit) as left, one_sentence_errors():
            case.call(files)
        code = int(left.value.code or 0)
    out, err = capfd.readouterr()
    assert code == 2
    assert "Traceback" not in out + err
    sentence = sentence_in(err)
    for fragment in case.fragments:
        assert fragment.format(**files) in sentence
    assert not files["marker"].exists(), "code in a file was run"
    left = {path.name for path in Path.cwd().rglob("*") if path.is_file()}
    assert not {name for name in left if not name.endswith(RECORDS)}, "a partial output is left"


def test_the_table_has_no_twins() -> None:
    assert len({case.id for case in CASES}) == len({str(case.call) for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        ("train.py backbone=resnet", "backbone=resnet does not exist"),
        ("eval.py ckpt_path={evil}", "{evil} is refused"),
    ],
)
def test_it_is_the_same_in_a_process_of_its_own(
    call: str, fragment: str, files: dict[str, Path], tmp_path: Path
) -> None:
    command = [sys.executable, *map(str, words(call, files))]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stdout + result.stderr
    assert fragment.format(**files) in sentence_in(result.stderr)
    assert not files["marker"].exists()


@pytest.mark.usefixtures("apart")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("overrides", "warnings"),
    [
        (
            ["callbacks.freeze_backbone.epochs=2", "optimizer.warmup_epochs=5"],
            [
                "callbacks.freeze_backbone.epochs=2 covers all of trainer.max_epochs=2",
                "optimizer.warmup_epochs=5 is cut to a third of the training: 1 of 4 steps",
            ],
        ),
        (["ckpt_path={run}"], ["{run} has finished its 2 epochs"]),
    ],
)
def test_what_has_no_effect_is_said(
    overrides: list[str],
    warnings: list[str],
    files: dict[str, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(words(" ".join(["train.py", *overrides]), files)) == 0
    err = capfd.readouterr().err
    for warning in warnings:
        assert warning.format(**files) in err


@pytest.mark.usefixtures("apart")
def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), one_sentence_errors():
        raise ZeroDivisionError
