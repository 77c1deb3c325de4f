"""Writes codes_from_numpy.npy, the code table that the tests of the `.npy` reader read."""

from pathlib import Path

import numpy as np

np.save(Path(__file__).with_name("codes_from_numpy.npy"), np.array([0b0011, 0b0101, 0b1001], dtype="<u8"))
