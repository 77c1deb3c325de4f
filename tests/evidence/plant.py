"""Plants images of which it is known what rests on them into 900 digits of MNIST, for `pentimento evaluate retrieval`.

    python3 plant.py MNIST FASHION OUT

MNIST and FASHION are folders with the IDX files of both sets (`pentimento data fetch` says where they are). OUT gets, as NumPy arrays of
28x28 bytes with labels:

* set.npy: 900 digits of the training split, 5 altered copies of each of 10 digits of the test split (moved by a pixel, brighter, darker),
  and 50 pieces of clothing of Fashion-MNIST, a set that has nothing in common with digits;
* copies.npy and copies.csv: the 10 digits themselves, each with its 5 copies as sources;
* foreign.npy and foreign.csv: 10 other pieces of clothing, each with all 50 as sources.
"""

import csv
import gzip
import sys
from pathlib import Path

import numpy as np


def idx(folder, name, header):
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            read = gzip.open if path.suffix == ".gz" else open
            with read(path, "rb") as file:
                return np.frombuffer(file.read(), np.uint8, offset=header)
    sys.exit(f"{folder}: there is no {name}")


def images(folder, split):
    return idx(folder, f"{split}-images-idx3-ubyte", 16).reshape(-1, 28, 28)


def altered(image):
    """Five copies: moved to each side, and brighter or darker by a fifth."""
    moved = [np.roll(image, step, axis) for step, axis in ((1, 0), (-1, 0), (1, 1))]
    scaled = [np.clip(image * factor, 0, 255).astype(np.uint8) for factor in (0.8, 1.2)]
    return moved + scaled


def main():
    mnist, fashion, out = map(Path, sys.argv[1:4])
    out.mkdir(parents=True, exist_ok=True)
    labels = idx(mnist, "train-labels-idx1-ubyte", 8)
    digits = images(mnist, "train")[np.sort(np.concatenate([np.flatnonzero(labels == digit)[:90] for digit in range(10)]))]
    test_labels = idx(mnist, "t10k-labels-idx1-ubyte", 8)
    originals = images(mnist, "t10k")[[int(np.flatnonzero(test_labels == digit)[0]) for digit in range(10)]]
    copies = [copy for image in originals for copy in altered(image)]
    clothing = images(fashion, "train")[:50]
    np.save(out / "set.npy", np.concatenate([digits, np.stack(copies), clothing]))
    np.save(out / "copies.npy", originals)
    np.save(out / "foreign.npy", images(fashion, "t10k")[:10])
    first_copy, first_foreign = len(digits), len(digits) + len(copies)
    sources = {
        "copies.csv": [(query, first_copy + 5 * query + copy) for query in range(10) for copy in range(5)],
        "foreign.csv": [(query, first_foreign + piece) for query in range(10) for piece in range(50)],
    }
    for name, rows in sources.items():
        with open(out / name, "w", newline="") as file:
            csv.writer(file).writerows([("query", "training_image"), *rows])


main()
