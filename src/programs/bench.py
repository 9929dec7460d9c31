"""Time sparse against dense inference on this machine.

tokenthrift bench --backbone deit_s --rho 0.7 0.5 --batch 1 32   table and picture in reports/bench
"""

if __name__ == "__main__":
    from ..bench.__main__ import run

    run()
