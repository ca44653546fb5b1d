"""Population Based Training for PyTorch."""

import os

# Before the first product: with it the MKL gives the same bits wherever an operand lies in memory.
os.environ.setdefault("MKL_CBWR", "AUTO")

__all__: list[str] = []
