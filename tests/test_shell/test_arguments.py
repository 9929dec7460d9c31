"""What people type on the command line arrives as they typed it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.config import CONF
from src.errors import InputError
from src.shell.arguments import flags_first, for_hydra, is_path, parsed, texts

NASTY = (
    *("Müller (1)", "写真", "😀", "it's", 'a"b', "'a", "a'b'", "a,b", "a=b", "=x", "a&b", "a#b"),
    *("a[1]", "[1]", "a{1}", "{1}", "a;b", "a!b", "50%", "a+b", "a@b", "a:b", "$x", "a\\b", "a\\"),
    *("a\\'b", " a ", "a\tb", "a\nb", "1", "1e5", "true", "a|b*?<>^`", "a~", "-a", "choice(a)"),
    *("sweeps/rho=0.5,seed=1/checkpoints/best.ckpt", "\x07"),
)


@pytest.mark.parametrize("path", NASTY)
def test_a_path_arrives_as_typed(path: str) -> None:
    words = for_hydra([f"ckpt_path={path}", f"++datamodule.root={path}", f"paths.run={path}"])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=words)
    assert (config.ckpt_path, config.datamodule.root, config.paths.run) == (path, path, path)
    assert for_hydra(words) == words
    for word in words:  # a sweeper writes each job's words anew
        override = parsed(word)
        assert override is not None
        again = parsed(f"{override.get_key_element()}={override.get_value_element_as_str()}")
        assert again is not None
        assert texts(again) == [path]


def values(argument: str, *flags: str) -> list[str]:
    override = parsed(for_hydra([*flags, argument])[-1])
    assert override is not None
    return texts(override)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("'/a b=1'", "/a b=1"),
        ('"/a b=1"', "/a b=1"),
        ("/a\\=1\\,2", "/a=1,2"),
        ("~/w.ckpt", "HOME/w.ckpt"),
        ("'~/w.ckpt'", "HOME/w.ckpt"),
        ("${oc.env:A,B}/x", "${oc.env:A,B}/x"),
    ],
)
def test_quotes_escapes_and_home(typed: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "HOME")
    assert values(f"ckpt_path={typed}") == [meant]


def test_null_stays_null() -> None:
    assert for_hydra(["ckpt_path=null"]) == ["ckpt_path=null"]
    assert for_hydra(["callbacks.token_maps=null", "x"]) == ["callbacks.token_maps=null", "x"]


def test_a_list_is_a_sweep_only_with_the_flag(tmp_path: Path) -> None:
    assert values("ckpt_path=/a,/b") == ["/a,/b"]
    assert values("ckpt_path=/a,/b", "-m") == ["/a", "/b"]
    assert values("ckpt_path=/a,/b", "--multi") == ["/a", "/b"]
    assert values("ckpt_path='/a,b',/c", "-m") == ["/a,b", "/c"]
    assert values("ckpt_path=${oc.env:A,B},/c", "-m") == ["${oc.env:A,B}", "/c"]
    assert values("hydra.sweep.dir=/a,b", "-m") == ["/a,b"]
    cells = [tmp_path / "rho=0.5,0.7" / name for name in ("rho=0.5", "rho=0.7")]
    for cell in cells:
        cell.mkdir(parents=True)
    first, second = map(str, cells)
    assert values(f"ckpt_path={first}", "-m") == [first]
    assert values(f"ckpt_path={first},{second}", "-m") == [first, second]
    assert values(f"predictions={cells[0].parent}/new.csv", "-m") == [f"{cells[0].parent}/new.csv"]


def test_words_beyond_hydras_grammar_are_text() -> None:
    assert values("logger.wandb.project=Über (1)") == ["Über (1)"]
    for left in ("schedule.locations=[3", "rho=0.5", "~callbacks.progress", "rho=${ratio}", "-m"):
        assert for_hydra([left]) == [left]


def test_a_name_that_reads_as_a_number_is_text() -> None:
    for name in ("2024", "1e3", "true", "nan", "007"):
        assert values(f"datamodule.val_split={name}") == [name]
        override = parsed(for_hydra([f"datamodule.train_csv={name}"])[0])
        assert override is not None
        assert override.value() == name
    assert values("datamodule.val_split=2023,2024,new", "-m") == ["2023", "2024", "new"]
    for left in (
        "datamodule.val_csv=null",
        "datamodule.train_split=new",
        "datamodule.train_split='7'",
        "datamodule.train_split=choice(1,2)",
        "datamodule.split=1",
    ):
        assert for_hydra([left]) == [left]


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(InputError, match=r"datamodule\.root= lacks a path"):
        for_hydra(["datamodule.root="])
    with pytest.raises(InputError, match=r"ckpt_path=/a, lacks a path"):
        for_hydra(["-m", "ckpt_path=/a,"])
    with pytest.raises(InputError, match=r"root=/a\\xff on the command line is not UTF-8"):
        for_hydra(["datamodule.root=/a\udcff"])


def test_every_path_in_conf_has_a_name_that_says_so() -> None:
    """A value that lies in the run's folder, and what `conf/eval.yaml` writes."""
    outputs = {
        key
        for key in OmegaConf.load(CONF / "eval.yaml")
        if key not in ("defaults", "images", "callbacks")
    }
    assert outputs
    missed = {key for key in outputs if not is_path(str(key))}

    def look(node: object, key: str = "") -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                look(value, f"{key}.{name}".lstrip("."))
        elif isinstance(node, str) and node.startswith("${paths.") and node != "${paths.name}":
            missed.update(() if is_path(key) else (key,))

    for file in CONF.rglob("*.yaml"):
        look(OmegaConf.to_container(OmegaConf.load(file)))
    assert not missed


def test_flags_come_in_front_of_overrides() -> None:
    words = ["rho=0.5", "-m", "--config-dir", "a=b", "~loss.x", "--cfg", "job", "seed=1"]
    flags = ["-m", "--config-dir", "a=b", "--cfg", "job"]
    assert flags_first(words) == [*flags, "rho=0.5", "~loss.x", "seed=1"]
