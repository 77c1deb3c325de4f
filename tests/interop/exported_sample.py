"""Networks that pentimento trained, opened by diffusers: the same image from the same noise.

Exports every member of a run, opens each with `DDPMPipeline.from_pretrained` or `DDIMPipeline.from_pretrained`, makes some
samples of the run again with diffusers' scheduler and PyTorch's U-Nets on the noise that the run recorded, and compares
them with those in the run.

Needs: torch, diffusers, numpy, safetensors.  Usage: python exported_sample.py PROGRAM RUN [SAMPLES]
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.schedulers import scheduling_ddpm
from safetensors.numpy import load_file

LARGEST_DIFFERENCE = 1e-3
SAMPLE_NOISE = 6  # the purpose of this noise in its address


def normals(seed, sample, place, count):
    """Philox 4x32-10 with the counter (block, place, sample, purpose), then Box and Muller."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    full = lambda value: np.full_like(blocks, value)
    low = np.uint64(0xFFFFFFFF)
    counter = [blocks, full(place), full(sample), full(SAMPLE_NOISE)]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for turn in range(10):
        product = [np.uint64(0xD2511F53) * counter[0], np.uint64(0xCD9E8D57) * counter[2]]
        turned = [(k + turn * step) & 0xFFFFFFFF for k, step in zip(key, (0x9E3779B9, 0xBB67AE85))]
        counter = [
            (product[1] >> np.uint64(32)) ^ counter[1] ^ np.uint64(turned[0]), product[1] & low,
            (product[0] >> np.uint64(32)) ^ counter[3] ^ np.uint64(turned[1]), product[0] & low,
        ]
    words = (np.stack(counter, axis=1).reshape(-1).astype(np.float64) + 0.5) / 2**32
    radius, angle = np.sqrt(-2 * np.log(words[0::2])), 2 * np.pi * words[1::2]
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    return both[:count].astype(np.float32)


def main(program, run, samples):
    run = Path(run)
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    arrays = [load_file(path) for path in sorted((run / "samples").glob("shard-*.safetensors"))]
    images = np.concatenate([array["image"] for array in arrays])
    members = len(list((run / "members").glob("*/unet/config.json")))
    with tempfile.TemporaryDirectory() as folder:
        pipelines = []
        for member in range(members):
            target = Path(folder) / str(member)
            subprocess.run([program, "export", run, target, "--member", str(member)], check=True,
                           stdout=subprocess.DEVNULL)
            pipelines.append(DiffusionPipeline.from_pretrained(target))
        worst = 0.0
        for sample in range(min(samples, len(images))):
            made = sample_again(pipelines, recipe, sample, images[sample].shape)
            difference = np.abs(made - np.clip(images[sample], -1, 1)).max()
            worst = max(worst, float(difference))
    passed = worst <= LARGEST_DIFFERENCE
    print(json.dumps({
        "pipeline": type(pipelines[0]).__name__, "members": members, "samples": min(samples, len(images)),
        "steps": recipe["sampling"]["steps"], "largest_difference": worst, "bound": LARGEST_DIFFERENCE,
        "torch": torch.__version__, "passed": passed}))
    return 0 if passed else 1


@torch.no_grad()
def sample_again(pipelines, recipe, sample, shape):
    height, width, channels = shape
    def noise(place):
        values = normals(recipe["seed"], sample, place, height * width * channels)
        return torch.from_numpy(values.reshape(1, height, width, channels)).permute(0, 3, 1, 2)
    scheduler = pipelines[0].scheduler
    scheduler.set_timesteps(recipe["sampling"]["steps"])
    x = noise(0)
    for step, timestep in enumerate(scheduler.timesteps):
        output = sum(pipeline.unet(x, timestep).sample for pipeline in pipelines) / len(pipelines)
        # diffusers draws this noise by itself; here it is the recorded one.
        scheduling_ddpm.randn_tensor = lambda *arguments, **options: noise(step + 1)
        x = scheduler.step(output, timestep, x).prev_sample
    return x.clamp(-1, 1).permute(0, 2, 3, 1)[0].numpy()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 4))
