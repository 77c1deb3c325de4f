#!/usr/bin/env python3
"""Which training images show what the prompt of each sample asks for, as `pentimento evaluate retrieval --sources` takes it.

    python3 prompts_sources.py CIFAR OUT.csv SAMPLES CLASS [CLASS ...]

CIFAR is a folder with the binary files of CIFAR-10, SAMPLES the number of samples, whose prompts ask for these classes in turn. The
training images are the first 1,000 of each class.
"""

import csv
import sys
from pathlib import Path

RECORD = 3073  # a label and 32x32x3 bytes


def main():
    cifar, out, samples, classes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), [int(name) for name in sys.argv[4:]]
    raw = b"".join((cifar / f"data_batch_{number}.bin").read_bytes() for number in range(1, 6))
    labels = raw[::RECORD]
    of_class = {label: [place for place, found in enumerate(labels) if found == label][:1000] for label in classes}
    with open(out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "training_image"])
        for sample in range(samples):
            writer.writerows((sample, image) for image in of_class[classes[sample % len(classes)]])


if __name__ == "__main__":
    main()
