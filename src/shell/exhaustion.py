"""Explains errors of an exhausted machine by the setting that asks for less."""

from __future__ import annotations

import errno
import re
import tempfile

_BATCH = "try a smaller datamodule.batch_size, or throughput_batch where speed is measured"
_SHARED = "datamodule.num_workers=0 does without, and a container can have more by --shm-size=8g"
_FILES = (
    "Too many files are open: raise the limit, as by 'ulimit -n 65536', or try a smaller "
    "datamodule.num_workers."
)
# What libraries and the system say, the narrower before the wider; workers' errors are texts.
_SENTENCES = (
    (
        r"DataLoader worker \(pid.*Bus error|out of shared memory"
        r"|shared memory\(shm\).*(No space|allocate)|/torch_.*(No space|Cannot allocate)"
        r"|allocate shared memory|unable to write to file </torch",
        f"There is no room left in the shared memory of loader processes, /dev/shm: {_SHARED}.",
    ),
    (r"Too many open files|received 0 items of ancdata", _FILES),
    (
        r"can't start new thread|can't start a new thread|pthread_create failed",
        "The system starts no more threads or processes: try a smaller datamodule.num_workers, "
        "or raise the limit, as by 'ulimit -u'.",
    ),
    (
        r"(CUDA|HIP|MPS|XPU)\b.*out of memory|OutOfMemoryError"
        r"|CU(BLAS|DNN|SPARSE)_STATUS_ALLOC_FAILED",
        f"The accelerator's memory is full{{asked}}: {_BATCH}.",
    ),
    (
        r"DefaultCPUAllocator: (can't|not enough)|std::bad_alloc|Cannot allocate memory"
        r"|Unable to allocate .* for an array|MemoryError",
        f"This machine's memory is full{{asked}}: {_BATCH}, or a smaller datamodule.num_workers.",
    ),
)
_ERRNOS = {
    errno.EMFILE: "Too many open files",
    errno.ENFILE: "Too many open files",
    errno.ENOMEM: "Cannot allocate memory",
}
_NO_ROOM = f"[Errno {errno.ENOSPC}]"
_ASKED = r"[Tt]ried to allocate ([\d.]+ ?\w+)|[Yy]ou tried to allocate (\d+ bytes)"


def exhausted(error: BaseException) -> str | None:
    """Return the sentence for an error that means that something has run out; None for others.

    Only errors by which Python, the system and PyTorch say so are looked at.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if not kinds & {"MemoryError", "OutOfMemoryError", "RuntimeError", "OSError"}:
        return None
    text = f"{type(error).__name__}: {error} {_ERRNOS.get(getattr(error, 'errno', None) or 0, '')}"
    if isinstance(error, OSError) and not error.filename and _NO_ROOM in str(error):
        return (
            f"There is no room left in the run's folder, {tempfile.gettempdir()} or /dev/shm: make "
            f"room there; of /dev/shm, {_SHARED}."
        )
    if isinstance(error, BlockingIOError):
        text = "can't start new thread"
    for pattern, sentence in _SENTENCES:
        if re.search(pattern, text, re.DOTALL):
            amount = re.search(_ASKED, text)
            asked = f" (it was asked for {next(filter(None, amount.groups()))})" if amount else ""
            return sentence.format(asked=asked)
    return None
