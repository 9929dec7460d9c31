"""Starts the app on the command line of its process."""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from ..config import ASSETS, PACKAGE
from ..errors import InputError
from ..shell.program import command, one_sentence_errors
from ..shell.quiet import quiet_libraries

_PORT = 7860


def run(description: str, arguments: Sequence[str] | None = None) -> None:
    """Serve the app until the process is asked to end; bad input ends it with one sentence."""
    with one_sentence_errors():
        options = _options(description, arguments)
        quiet_libraries()
        os.environ.setdefault("TOKENTHRIFT_PACKAGE", PACKAGE)
        os.environ.setdefault("TOKENTHRIFT_ASSETS", str(ASSETS))
        _serve(options)


def _options(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=command("app"),
        description=description.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", nargs="?", help="a saved student, a checkpoint, or hf-hub:user/name"
    )
    parser.add_argument("--backbone", metavar="NAME", help="network of a file of bare weights")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument("--port", type=int, default=_PORT, help="%(default)s by default")
    parser.add_argument("--no-browser", action="store_true", help="open no browser")
    options = parser.parse_args(arguments)
    if not 1 <= options.port <= 65535:
        raise InputError(f"--port {options.port} is no port: give a number from 1 to 65535.")
    if options.backbone and not options.file:
        raise InputError(
            f"--backbone {options.backbone} says of which network FILE is: add the file, or choose "
            "the network in the page."
        )
    return options


def _serve(options: argparse.Namespace) -> None:
    try:
        import gradio  # noqa: F401 - late, for the sake of `--help`
    except ModuleNotFoundError as error:
        raise InputError(
            "The app needs gradio, which is not installed: pip install 'tokenthrift[app]'."
        ) from error
    from .examples import write_examples
    from .layout import THEME, Answers, build_page
    from .page import CSS
    from .subjects import file_subject, named_subject

    given = None
    if options.file:
        named = options.backbone
        given = named_subject(named, options.file) if named else file_subject(options.file)
    with tempfile.TemporaryDirectory() as folder:
        page = build_page(Answers(given), write_examples(Path(folder)))
        try:
            _, address, _ = page.launch(
                server_name=options.host,
                server_port=options.port,
                inbrowser=not options.no_browser,
                share=False,
                ssr_mode=False,
                quiet=True,
                prevent_thread_lock=True,
                theme=THEME,
                css=CSS,
                footer_links=[],
            )
        except OSError as error:
            raise InputError(
                f"--host {options.host} --port {options.port} cannot be listened at: it is taken, "
                "or no address of this machine; give another --port."
            ) from error
        print(f"The app is at {address} (Ctrl-C ends it).", flush=True)
        try:
            threading.Event().wait()
        finally:
            page.close()
