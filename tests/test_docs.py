"""What README and docs say can be done: links lead somewhere, commands compose, examples run."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import src
from src.runs.settings import check_config
from src.shell.arguments import flags_first, for_hydra, parsed, texts
from tests.documented import (
    DOCS,
    PAGES,
    Command,
    anchors,
    blocks,
    command,
    commands,
    links,
    shell_lines,
    spans,
)
from tests.helpers import ROOT, SHALLOW, one_process, run

CONF = ROOT / "conf"
# What a reader puts in, as the configuration takes it.
PLACEHOLDERS = {"experiment=NAME": "experiment=deit_s_0.7"}
GIVEN: dict[str, Any] = {"schedule.ratios": [0.7, 0.5, 0.3], "datamodule.num_classes": 21}
# What makes the tutorial quick: one step to an epoch.
FEWER_PHOTOGRAPHS = '(("train", 64), ("val", 16))', '(("train", 11), ("val", 2))'


def of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


EVERY = sorted({(of(page), found) for page in PAGES for found in commands(page)})


@pytest.fixture
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of `docs/extending.md`: its python blocks as one module, its yaml."""
    python = [b.text for b in blocks(DOCS / "extending.md") if b.language == "python"]
    (tmp_path / "myparts.py").write_text("\n".join(python))
    for block in blocks(DOCS / "extending.md"):
        if block.language == "yaml":
            file = tmp_path / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("myparts", None)


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_pages_can_be_found() -> None:
    """Each page is linked from README or from the start page of the site."""
    linked = {(DOCS / link).resolve() for link in links(DOCS / "index.md")}
    linked |= {(ROOT / link).resolve() for link in links(ROOT / "README.md")}
    assert [of(page) for page in PAGES if page.parent == DOCS and page not in linked] == [
        of(DOCS / name) for name in ("api.md", "attention.md", "index.md")
    ]


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_targets_of_make_and_modules_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    typed = [line for b in blocks(page) if b.language == "sh" for line in b.text.splitlines()]
    for words in (line.split() for line in [*typed, *spans(page)] if line.startswith("make ")):
        assert words[1] in targets, words
    for module in re.findall(r"python -m (src[\w.]*)", text):
        assert importlib.util.find_spec(module), module


@pytest.mark.slow
@pytest.mark.parametrize(("page", "given"), EVERY, ids=lambda one: str(one)[:60])
def test_every_command_composes(
    page: str, given: Command, own_parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # trainer=gpu is valid somewhere
    program, words = unswept(given)
    assert (ROOT / "src" / "programs" / f"{program}.py").is_file()
    if not (CONF / f"{program}.yaml").is_file():
        return  # it takes flags and composes nothing
    if "hydra/launcher=ray" in words:
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    words = flags_first(for_hydra([PLACEHOLDERS.get(word, word) for word in words]))
    for overrides in variants(words):
        check(program, overrides, own_parts)


def unswept(given: Command) -> Command:
    """The program that `tokenthrift sweep` hands over to."""
    if given.program != "sweep":
        return given
    first, *rest = given.words or ("",)
    return (
        Command(first, ("-m", *rest)) if first == "eval" else Command("train", ("-m", *given.words))
    )


def variants(words: list[str]) -> Iterator[list[str]]:
    """The overrides with the first value of each list, and then with each other value in turn."""
    values = []
    for word in words:
        override = parsed(word)
        if override is not None:
            listed = texts(override) if override.is_sweep_override() else []
            key = override.get_key_element()
            values.append([f"{key}={text}" for text in listed] or [word])
    first = [listed[0] for listed in values]
    yield first
    for at, listed in enumerate(values):
        for other in listed[1:]:
            yield [*first[:at], other, *first[at + 1 :]]


def check(program: str, overrides: list[str], own_parts: Path) -> None:
    own = f"hydra.searchpath=[file://{own_parts / 'myconf'}]"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(program, [*overrides, own, "paths.run=run", "paths.name=name"])
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, GIVEN[key])
    config.backbone.weights = config.ckpt_path = None  # files that are not there
    check_config(config)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["extending", "tutorial"])
def test_examples_run(name: str, own_parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {"__name__": "myparts" if name == "extending" else "tutorial"}
    for block in blocks(DOCS / f"{name}.md"):
        with one_process(own_parts):
            if block.language == "python" and name == "tutorial":
                text = block.text.replace(*FEWER_PHOTOGRAPHS)
                exec(compile(text, f"{name}.md", "exec"), namespace)
        for line in shell_lines(block.text) if block.language == "sh" else ():
            given = command(line)
            assert given, line
            with one_process(own_parts):
                quick = ["trainer=cpu", "callbacks.progress=null", "datamodule.num_workers=0"]
                if (name, given.program) == ("tutorial", "train"):
                    quick += SHALLOW  # exported at the end, which takes long by blocks
                    if not any(word.startswith("backbone.weights=") for word in given.words):
                        quick += ["backbone.weights=null"]  # the shipped ones have all blocks
                script = ROOT / f"{given.program}.py"
                assert run([script, *given.words, *quick]) == 0, line


def test_api_has_every_public_name() -> None:
    """The page shows the package, whose `__all__` the site's generator follows."""
    assert "::: src\n" in (DOCS / "api.md").read_text("utf-8")
    for name in src.__all__:
        assert getattr(src, name).__doc__, name
