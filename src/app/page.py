"""Writes findings as HTML; texts of files are escaped."""

from __future__ import annotations

import base64
import io
from html import escape

from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from .finding import Finding, Guess

CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.look { display: grid; gap: 20px; }
.look h3 { margin: 0 0 8px; font-size: 15px; font-weight: 600; }
.look .maps { display: grid; gap: 10px;
  grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); }
.look figure { margin: 0; }
.look figure img { display: block; width: 100%; aspect-ratio: 1; border-radius: 6px;
  image-rendering: pixelated; border: 1px solid var(--border-color-primary); }
.look figcaption { margin-top: 4px; font-size: 13px; line-height: 1.35; }
.look figcaption span, .look .note, .look .of { opacity: 0.75; }
.look .numbers { display: grid; gap: 10px;
  grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); }
.look .number { padding: 10px 14px; border-radius: 8px;
  border: 1px solid var(--border-color-primary); }
.look .number b { display: block; font-size: 22px; line-height: 1.3; font-weight: 600; }
.look .of, .look .note { font-size: 13px; margin: 0; }
.look .guesses { display: grid; gap: 6px 12px; align-items: center; font-size: 14px;
  grid-template-columns: minmax(64px, max-content) 1fr; }
.look .name { overflow-wrap: anywhere; max-width: 220px; }
.look .bars { display: grid; gap: 2px; }
.look .bar { display: grid; grid-template-columns: 1fr 62px; gap: 8px; align-items: center;
  font-size: 12px; font-variant-numeric: tabular-nums; }
.look .bar div { height: 9px; border-radius: 2px; min-width: 1px; }
.look .bar span { text-align: right; }
.look .sparse { background: #2159cc; }
.look .dense { background: #9aa3b2; }
.look .key { display: flex; gap: 16px; font-size: 13px; margin: 0 0 8px; }
.look .key i { display: inline-block; width: 10px; height: 10px; border-radius: 2px;
  margin-right: 6px; }
.look .fault { margin: 0; padding: 12px 14px; border-radius: 8px; overflow-wrap: anywhere;
  border: 1px solid #d9822b; background: #d9822b1f; }
"""


def fault_page(sentence: str) -> str:
    """Return a sentence on what is wrong with the input."""
    return f'<div class="look"><p class="fault" role="alert">{escape(sentence)}</p></div>'


def finding_page(finding: Finding) -> str:
    """Return the maps, the predictions and the costs of a finding."""
    parts = [f'<p class="note">{escape(note)}</p>' for note in finding.notes]
    parts += [_maps(finding), _guesses(finding.guesses), _numbers(finding)]
    return f'<div class="look">{"".join(parts)}</div>'


def _maps(finding: Finding) -> str:
    tiles = [_tile(finding.image, "input", "what the network sees")]
    for left in finding.left:
        share = 100 * left.count / left.patches
        count = f"{left.count} of {left.patches} ({share:.0f} %)"
        tiles.append(_tile(left.picture, f"block {left.location}", count))
    return f'<section><h3>What is left</h3><div class="maps">{"".join(tiles)}</div></section>'


def _tile(picture: Tensor, title: str, text: str) -> str:
    file = io.BytesIO()
    to_pil_image(picture).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{title}: {text}">'
        f"<figcaption>{title}<br><span>{text}</span></figcaption></figure>"
    )


def _guesses(guesses: tuple[Guess, ...]) -> str:
    rows = "".join(
        f'<div class="name">{escape(guess.name)}</div><div class="bars">'
        f"{_bar('sparse', guess.sparse)}{_bar('dense', guess.dense)}</div>"
        for guess in guesses
    )
    return (
        '<section><h3>Prediction</h3><p class="key"><span><i class="sparse"></i>sparse</span>'
        f'<span><i class="dense"></i>dense</span></p><div class="guesses">{rows}</div></section>'
    )


def _bar(kind: str, share: float) -> str:
    width = f"width:{100 * share:.2f}%"
    return (
        f'<div class="bar"><div class="{kind}" style="{width}"></div>'
        f"<span>{100 * share:.1f} %</span></div>"
    )


def _numbers(finding: Finding) -> str:
    boxes = []
    for unit, (sparse, dense) in (("GMACs", finding.gmacs), ("ms", finding.milliseconds)):
        boxes.append(
            f'<div class="number"><b>{sparse:.3g} {unit}</b><p class="of">dense {dense:.3g}, '
            f"{100 * sparse / dense:.0f} % of it</p></div>"
        )
    return (
        f'<section><h3>Cost of one image</h3><div class="numbers">{"".join(boxes)}</div>'
        '<p class="note">Milliseconds are medians of a few turns, student and dense network '
        "alternately, on this machine.</p></section>"
    )
