"""What a library or the system says becomes one sentence with the setting that helps."""

from __future__ import annotations

import errno
import logging

import pytest
import torch

from src.errors import InputError, printable
from src.shell.program import PrintableFormatter, one_sentence_errors, sentences_of

WORKER = "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback:\nRuntimeError: "
SHARED = ("/dev/shm", "--shm-size", "datamodule.num_workers=0")
MEMORY = ("memory is full", "datamodule.batch_size", "throughput_batch")
FILES = ("Too many files", "ulimit -n", "datamodule.num_workers")
SHM = "unable to allocate shared memory(shm) for file </torch_1_2>: No space left on device (28)"
BUS = (
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit."
)
CPU = (
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB."


@pytest.mark.parametrize(
    ("error", "fragments"),
    [
        (RuntimeError(SHM), SHARED),
        (RuntimeError(WORKER + SHM), SHARED),
        (RuntimeError(BUS), SHARED),
        (OSError(errno.ENOSPC, "No space left on device"), SHARED),
        (OSError("Caught OSError in ...\n[Errno 28] No space left on device"), SHARED),
        (RuntimeError(CPU), (*MEMORY, "4000000000 bytes")),
        (MemoryError(), MEMORY),
        (MemoryError("std::bad_alloc"), MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY),
        (torch.OutOfMemoryError(CUDA), (*MEMORY, "accelerator", "2.00 GiB")),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"), (*MEMORY, "accelerator")),
        (RuntimeError("CUDA error: out of memory"), (*MEMORY, "accelerator")),
        (OSError(errno.EMFILE, "Too many open files", "/data/1.png"), FILES),
        (RuntimeError("received 0 items of ancdata"), FILES),
        (RuntimeError("unable to mmap 8 bytes: Too many open files (24)"), FILES),
        (RuntimeError("can't start new thread"), ("datamodule.num_workers", "ulimit -u")),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ("num_workers",)),
        (OSError(errno.ENOSPC, "No space left on device", "/run/a.csv"), ("/run/a.csv", "space")),
    ],
)
def test_what_has_run_out_is_said_with_the_setting(error, fragments):
    (sentence,) = sentences_of(error)
    assert all(fragment in sentence for fragment in fragments), sentence
    assert sentence.endswith(".")
    assert ". " not in sentence


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shape '[2]' is invalid"),
        ValueError("out of memory"),
        OSError("odd"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        KeyError("MemoryError"),
    ],
)
def test_other_faults_keep_their_traceback(error):
    assert sentences_of(error) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b]0;owned\x07b", "a\\x1b]0;owned\\x07b"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
        ("Käfer 犬 ß 'x'", "Käfer 犬 ß 'x'"),
    ],
)
def test_a_terminal_obeys_no_name(text, shown, capsys):
    assert printable(text) == shown
    with pytest.raises(SystemExit), one_sentence_errors():
        raise InputError(f"{text} is\nrefused.")
    assert capsys.readouterr().err == f"error: {shown} is refused.\n"
    record = logging.makeLogRecord({"msg": f"{text}\nnext"})
    assert PrintableFormatter("%(message)s").format(record) == f"{shown}\nnext"
