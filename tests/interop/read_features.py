"""Reads the features and scores of a run with nothing of pentimento: python tests/interop/read_features.py RUN

Checks that every file of features opens with pyarrow alone, that rows have the length that they say, that two rows of one image
have different features, and that the Parquet table holds the scores of the .npy file. Prints what it read.
"""

import json
import pathlib
import sys

import numpy
import pyarrow.ipc
import pyarrow.parquet


def main(run):
    rows = 0
    files = sorted(run.glob("features/*/*/*.arrow"))
    assert files, "no features"
    for file in files:
        table = pyarrow.ipc.open_file(file).read_all()
        about = json.loads(table.schema.metadata[b"pentimento.features_of"])
        feature = table.column("feature").combine_chunks()
        values = feature.flatten().to_numpy(zero_copy_only=False).astype(numpy.float32)
        values = values.reshape(len(table), about["dimension"])
        values = values * table.column("scale").to_numpy()[:, None]
        assert numpy.isfinite(values).all(), file
        parts = table.column("part").to_numpy()
        count = parts.max() + 1
        assert (parts == numpy.arange(len(table)) % count).all(), file
        assert count == 1 or not numpy.allclose(values[0], values[1]), file
        keys = [bytes(key).hex() for key in table.column("image").to_pylist()][::count]
        assert keys == file.with_suffix(".images").read_text().split(), file
        rows += len(table)
    for file in sorted(run.glob("scores/*/*.parquet")):
        table = pyarrow.parquet.read_table(file)
        scores = numpy.load(file.with_suffix(".npy"))
        found = table.column("score").to_numpy().reshape(scores.shape)
        assert numpy.allclose(found, scores, rtol=1e-6), file
        ranks = table.column("rank").to_numpy().reshape(scores.shape)
        assert (numpy.sort(ranks) == 1 + numpy.arange(scores.shape[1])).all(), file
        assert (found[numpy.arange(len(found)), ranks.argmin(axis=1)] == found.max(axis=1)).all(), file
    print(f"{rows} rows in {len(files)} files of features")


main(pathlib.Path(sys.argv[1]))
