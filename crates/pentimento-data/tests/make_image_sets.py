"""Writes small image sets with the libraries that write such sets, and what is in them.

    python3 -m venv image-sets-env
    image-sets-env/bin/pip install numpy pillow pyarrow datasets webdataset
    image-sets-env/bin/python crates/pentimento-data/tests/make_image_sets.py \
        crates/pentimento-data/tests/image_sets/written_elsewhere

Every set has the same four images; expected.json has the pixels of each as Pillow decodes them.
"""

import io
import json
import sys
from pathlib import Path

import datasets
import numpy
import PIL.Image
import PIL.ImageOps
import pyarrow
import pyarrow.parquet
import webdataset

root = Path(sys.argv[1])
root.mkdir(parents=True, exist_ok=True)
generator = numpy.random.default_rng(20261122)
pixels = generator.integers(0, 256, (4, 6, 5, 3), dtype=numpy.uint8)
labels = [2, 0, 1, 2]
images = [PIL.Image.fromarray(image) for image in pixels]

numpy.save(root / "images.npy", pixels)
numpy.savez(root / "stored.npz", x_train=pixels, y_train=numpy.array(labels))
numpy.savez_compressed(
    root / "compressed.npz", images=pixels.transpose(0, 3, 1, 2).copy(), labels=numpy.array(labels, numpy.int32)
)

# A file for each codec that pyarrow writes; its "lz4" is LZ4_RAW of the format.
encoded_images = []
for image in images:
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    encoded_images.append({"bytes": encoded.getvalue(), "path": None})
table = pyarrow.table({"img": encoded_images, "label": labels})
(root / "codecs").mkdir(exist_ok=True)
for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
    pyarrow.parquet.write_table(table, root / "codecs" / f"{codec}.parquet", compression=codec)

features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee", "cow"])})
datasets.Dataset.from_dict({"img": images, "label": labels}, features=features).to_parquet(root / "datasets.parquet")

with webdataset.TarWriter(str(root / "webdataset.tar"), encoder=False) as writer:
    for index, (image, label) in enumerate(zip(images, labels)):
        encoded = io.BytesIO()
        image.save(encoded, "PNG")
        writer.write({"__key__": f"{index:06d}", "png": encoded.getvalue(), "cls": str(label).encode()})

kinds = root / "kinds"
kinds.mkdir(exist_ok=True)
first = images[0]
first.save(kinds / "a-rgb.png")
first.convert("L").save(kinds / "b-grey.png")
first.convert("P", palette=PIL.Image.Palette.ADAPTIVE, colors=8).save(kinds / "c-palette.png")
transparent = first.convert("RGBA")
transparent.putalpha(PIL.Image.fromarray(pixels[1, :, :, 0]))
transparent.save(kinds / "d-rgba.png")
one_bit = first.convert("1")
one_bit.save(kinds / "e-one-bit.png")
deep = PIL.Image.fromarray((pixels[0, :, :, 0].astype(numpy.uint16) * 257))
deep.save(kinds / "f-sixteen-bit.png")
first.save(kinds / "g-lossless.webp", lossless=True)
exif = PIL.Image.Exif()
exif[0x0112] = 6
first.save(kinds / "h-turned.png", exif=exif)
smooth = PIL.Image.fromarray(numpy.add.outer(numpy.arange(24) * 4, numpy.arange(16) * 6).astype(numpy.uint8))
smooth.save(kinds / "i-grey.jpg", quality=95, exif=exif)
first.save(kinds / "j-rgb.bmp")
first.convert("L").save(kinds / "k-grey.bmp")
first.convert("P", palette=PIL.Image.Palette.ADAPTIVE, colors=8).save(kinds / "l-palette.gif")
first.save(kinds / "m-rgb.tif", compression="tiff_lzw")
deep.save(kinds / "n-sixteen-bit.tiff")
transparent.save(kinds / "o-rgba.tif", compression="tiff_adobe_deflate")
# Several pictures in a file, of which Pillow shows the first.
reduced = [image.convert("P", palette=PIL.Image.Palette.ADAPTIVE, colors=8) for image in images[:2]]
reduced[0].save(kinds / "p-several.gif", save_all=True, append_images=reduced[1:])
# Copies: Pillow keeps settings of an earlier file on an image.
copies = [image.copy() for image in images[:3]]
copies[0].save(kinds / "q-several.tif", save_all=True, append_images=copies[1:])
images[0].save(kinds / "r-several.png", save_all=True, append_images=images[1:3])
images[0].save(kinds / "s-several.webp", save_all=True, append_images=images[1:3], lossless=True)


def rgb(path):
    image = PIL.ImageOps.exif_transpose(PIL.Image.open(path))
    if image.mode.startswith("I;16"):
        image = PIL.Image.fromarray((numpy.asarray(image) // 257).astype(numpy.uint8))
    if image.mode == "RGBA":
        white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, image)
    image = numpy.asarray(image.convert("RGB"))
    return {"shape": list(image.shape), "pixels": image.reshape(-1).tolist()}


expected = {
    "labels": labels,
    "images": [image.reshape(-1).tolist() for image in pixels],
    "kinds": {path.name: rgb(path) for path in sorted(kinds.iterdir())},
}
(root / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
