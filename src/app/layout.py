"""Lays out the page, and answers what is done in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from ..errors import InputError
from .finding import look, read_image
from .page import fault_page, finding_page
from .subjects import Subject, named_subject, named_subjects

THEME = gr.themes.Default(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)
_KEPT = 3  # networks that stay in memory
_IN_TURN = "in turn"  # answers wait for each other, so that timings are undisturbed


def _path_of(payload: ImageData | None) -> str | None:
    return payload.path if payload else None


class Answers:
    """Answers the page: which networks there are, and what one makes of an image."""

    def __init__(self, given: Subject | None = None) -> None:
        """Offer the networks that have a name and, before them, the one `given`."""
        self._given = given
        self._named = lru_cache(_KEPT)(named_subject)

    def networks(self) -> list[str]:
        """Return the choices of networks."""
        return ([self._given.name] if self._given else []) + named_subjects()

    def subject(self, name: str) -> Subject:
        """Return a network, loaded once.

        Raises:
            InputError: If it has no weights here.
        """
        if self._given and name == self._given.name:
            return self._given
        return self._named(name)

    def choose(self, network: str, path: str | None, rho: float) -> tuple[dict[str, object], str]:
        """Return the methods that suit a network, for the page's list of them, and `show`'s answer.

        Args:
            network: A name from `networks`.
            path: The image file, or None.
            rho: The keep ratio.
        """
        try:
            subject = self.subject(network)
        except InputError as error:
            none = gr.update(choices=[], value=None, interactive=False)
            return none, fault_page(" ".join(error.sentences))
        methods = gr.update(choices=subject.methods, value=subject.first, interactive=True)
        return methods, self.show(path, network, subject.first, rho)

    def show(self, path: str | None, network: str, method: str | None, rho: float) -> str:
        """Return what the page shows for these choices: a finding, or one sentence."""
        try:
            subject = self.subject(network)
            return finding_page(look(subject, read_image(path), rho, method or subject.first))
        except InputError as error:
            return fault_page(" ".join(error.sentences))


def build_page(answers: Answers, examples: Sequence[Path]) -> gr.Blocks:
    """Build the page; the first example is shown when it opens.

    Args:
        answers: To what is chosen.
        examples: Image files.
    """
    networks = answers.networks()
    first = answers.subject(networks[0])
    with gr.Blocks(title="tokenthrift", analytics_enabled=False) as page:
        gr.Markdown("# tokenthrift\nWhich patches of an image stay, and what that changes.")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                image = gr.Image(
                    value=str(examples[0]),
                    type="filepath",
                    sources=["upload", "clipboard"],
                    label="Image",
                    height=260,
                )
                # The file as it is, which gradio would decode: the app says what is wrong with it.
                image.preprocess = _path_of  # type: ignore[method-assign]
                gr.Examples([[str(path)] for path in examples], image, label="Examples")
                rho = gr.Slider(0.3, 1, value=0.7, step=0.05, label="Keep ratio rho", elem_id="rho")
                network = gr.Dropdown(networks, value=networks[0], label="Network")
                method = gr.Dropdown(first.methods, value=first.first, label="Method")
            with gr.Column(scale=3, min_width=300):
                shown = gr.HTML(elem_id="shown")
        waits: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": _IN_TURN}
        gr.on(
            [page.load, image.change, method.input, rho.input],
            answers.show,
            [image, network, method, rho],
            shown,
            show_progress="minimal",
            trigger_mode="always_last",
            **waits,
        )
        network.input(answers.choose, [network, image, rho], [method, shown], **waits)
    return page
