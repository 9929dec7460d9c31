"""Compare methods and keep ratios with the dense network: accuracy, speed, memory, in one run."""

if __name__ == "__main__":
    from ..bench.frontier.__main__ import run

    run()
