"""Reads pages of the documentation: their blocks, links, headings and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.helpers import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
_FENCED = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_SET = re.compile(r'^(\w+)="(.*)"\s*(?:#.*)?$')
_SCRIPT = re.compile(r"(?:.*/)?(train|eval|predict|export)\.py")


class Block(NamedTuple):
    """What stands between two fences, its language and its title."""

    language: str
    title: str
    text: str


class Command(NamedTuple):
    """A program of the command line and the words behind it."""

    program: str
    words: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(*found) for found in _FENCED.findall(page.read_text("utf-8"))]


def spans(page: Path) -> list[str]:
    """What stands in single backquotes outside of blocks, each in one line."""
    text = _FENCED.sub("", page.read_text("utf-8"))
    return [" ".join(span.split()) for span in _SPAN.findall(text)]


def links(page: Path) -> list[str]:
    """Targets of links and pictures that are no addresses of the web."""
    text = _FENCED.sub("", page.read_text("utf-8"))
    targets = _LINK.findall(_SPAN.sub("", text))
    return [target for target in targets if not target.startswith(("http:", "https:"))]


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings."""
    text = _FENCED.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shell_lines(text: str) -> Iterator[str]:
    """The lines of a block, continued ones as one, with its own variables filled in."""
    values: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        for name, value in values.items():
            line = re.sub(rf"\${name}\b", value, line)
        if assigned := _SET.match(line):
            values[assigned[1]] = assigned[2]
        elif line.strip():
            yield line


def command(line: str) -> Command | None:
    """The program of ours that a line starts, with what is typed behind it."""
    words = [word for word in shlex.split(line, comments=True) if word != "..."]
    for at, word in enumerate(words):
        if script := _SCRIPT.fullmatch(word):
            return Command(script[1], tuple(words[at + 1 :]))
        if word == "tokenthrift" and at == 0 and len(words) > 1:
            return Command(words[1], tuple(words[2:]))
    return None


def commands(page: Path) -> list[Command]:
    """All commands of a page, in blocks and in running text."""
    lines = [
        line for block in blocks(page) if block.language == "sh" for line in shell_lines(block.text)
    ]
    lines += [span for span in spans(page) if span.startswith(("python ", "tokenthrift "))]
    return [found for line in lines if (found := command(line))]
