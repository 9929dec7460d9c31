"""Train, or with `eval` as the first word evaluate, every combination of the listed settings.

tokenthrift sweep rho=0.9,0.7,0.5 seed=1,2,3        train; the same command goes on where it stopped
tokenthrift sweep eval method=evit,tome,dense rho=0.7,0.5 backbone=deit_s datamodule.root=DIR

The report of a sweep (table, picture, page) lies in its folder, which the last line names.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from ..runs.command import start
    from . import eval, train

    chosen = {"train": train, "eval": eval}
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    name = first if first in chosen else "train"
    words = sys.argv[2:] if first in chosen else sys.argv[1:]
    if {"-h", "--help"} & set(words) and first not in chosen:
        print(__doc__)
    else:
        sys.argv[1:] = words
        start(name, chosen[name].main, "-m")
