"""Turns libraries' errors about wrong input into sentences."""

from __future__ import annotations

import errno
import re
from difflib import get_close_matches

from ..errors import one_sentence
from .exhaustion import exhausted

# Package and class, so that none is imported.
_ALIKE = {
    ("hydra", "HydraException"),
    ("omegaconf", "OmegaConfBaseException"),
    ("yaml", "YAMLError"),
    ("lightning", "MisconfigurationException"),
    ("wandb", "Error"),
}
# What the file system says of a place that it does not let us use.
_PLACE = {
    errno.EPERM,
    errno.EACCES,
    errno.EEXIST,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}
# What gloo and NCCL report when another process has ended.
_PEER_IS_GONE = "gloo/transport.*(peer|[Tt]imed out|[Tt]imeout)|ncclRemoteError"


def library_sentence(error: Exception) -> str | None:
    """Return what a library, or the system, says is wrong with the input; None if it is not."""
    sentence = exhausted(error)
    if sentence:
        return sentence
    if str(error).startswith("Config group override must be"):  # Hydra's only bare ValueError
        return "A group on the command line is null: choose one of its options, or [] for none."
    if str(error).startswith("DataLoader worker (pid"):  # PyTorch's bare RuntimeError
        return (
            f"{one_sentence(str(error)).rstrip('.')}: the system may have ended it because "
            "memory was short, so try a smaller datamodule.num_workers or datamodule.batch_size."
        )
    if isinstance(error, RuntimeError) and re.search(_PEER_IS_GONE, str(error)):
        return (
            "Another process of this run has ended, so that this one cannot go on: see what it "
            "said, then give the same command with ckpt_path=last and this run's hydra.run.dir."
        )
    if isinstance(error, OSError) and error.errno in _PLACE:
        place = error.filename or "A file of the run's folder"
        return f"{place} cannot be written or read: {error.strerror}."
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__}
    if not kinds & _ALIKE:
        return None
    return _unknown_option(error) or _unknown_key(error.__cause__) or _shortened(error)


def _unknown_option(error: Exception) -> str | None:
    """Return a sentence with a group's options, for an error as of `backbone=resnet`."""
    path = getattr(error, "missing_cfg_file", None)
    if not path:
        return None
    group, _, option = path.rpartition("/")
    options = getattr(error, "options", None)
    choices = f"choose one of {', '.join(options)}" if options else f"see the files in conf/{group}"
    return f"{group}={option} does not exist: {choices}."


def _unknown_key(error: BaseException | None) -> str | None:
    """Return a sentence with a similar key, for an error as of `trainer.epochs=3`."""
    key, parent = getattr(error, "full_key", None), getattr(error, "parent_node", None)
    if "is not in struct" not in str(error) or key is None:
        return None
    names = [str(name) for name in parent or () if name != "hydra" and not name.startswith("_")]
    close = get_close_matches(str(getattr(error, "key", key)), names, n=1, cutoff=0.5)
    suggestion = f" (did you mean {close[0]}?)" if close else ""
    where = key.rpartition(".")[0]
    whose = f"{where} has" if where else "there are"
    return f"{key} is not a setting{suggestion}: {whose} {', '.join(names) or 'none'}."


def _shortened(error: Exception) -> str:
    override = getattr(error, "override", None)
    library = type(error).__module__.partition(".")[0]
    subject = f"{library}: " if library in ("lightning", "wandb") else ""
    subject += f"{override!r} on the command line: " if override else ""
    message = str(error) or str(error.__cause__)
    if message.startswith("Ambiguous value"):
        return f"{message.splitlines()[0]}: add -m to sweep over it, or write [a,b] for a list."
    key = getattr(error, "full_key", None)
    message = re.sub(r"\n\s*(full_key|object_type|reference_type)[:=].*", "", message)
    return one_sentence(subject + message + (f" (in {key})" if key else ""))
