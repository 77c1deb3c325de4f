#!/usr/bin/env python3
"""EK-FAC influence in PyTorch and diffusers, written apart from pentimento, for the bank in docs/results/banks/mnist.

    python3 ekfac.py BANK MNIST OUT [DRAWS]

BANK is docs/results/banks/mnist, MNIST a folder with the IDX files (`pentimento data fetch` says where they are). OUT gets
samples.npy and held-out-24.npy, `[queries, images]`, for `pentimento evaluate lds --scores`. Training images and queries share
DRAWS (50) timesteps and noises. As in Mlodozeniec et al. (2025), the curvature is the Gauss-Newton matrix of the network's output;
convolutions and linear layers have Kronecker factors with bias, norms a diagonal. The damping is a thousandth of a block's mean
eigenvalue. Needs torch, diffusers, pillow.
"""

import gzip
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from PIL import Image

CURVATURE_DRAWS = 12  # for the factors, and as many again for the eigenvalues
BATCH = 50
SHARE = 1e-3


def idx_images(folder, split):
    for name in (f"{split}-images-idx3-ubyte", f"{split}-images-idx3-ubyte.gz"):
        path = folder / name
        if path.is_file():
            read = gzip.open if path.suffix == ".gz" else open
            with read(path, "rb") as file:
                return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    sys.exit(f"{folder}: no images of the split {split}")


def resized(images):
    small = [np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BOX)) for image in images]
    return torch.tensor(np.stack(small)[:, None].astype(np.float32) / 127.5 - 1)


class Layer:
    """What one layer saw in a pass: inputs and gradients of outputs, `[images, positions, width]`."""

    # Only while the curvature is measured: keeping patches takes longer than the pass itself.
    watches = True

    def __init__(self, module):
        self.module = module
        self.is_norm = isinstance(module, torch.nn.GroupNorm)
        module.register_forward_hook(self.forward)

    def forward(self, module, inputs, output):
        if not Layer.watches:
            return
        x = inputs[0].detach()
        if self.is_norm:
            self.x = F.group_norm(x, module.num_groups, eps=module.eps)
        elif isinstance(module, torch.nn.Conv2d):
            patches = F.unfold(x, module.kernel_size, padding=module.padding, stride=module.stride)
            self.x = patches.transpose(1, 2)
        else:
            self.x = x.reshape(x.shape[0], -1, x.shape[-1])
        if not self.is_norm and module.bias is not None:
            self.x = torch.cat([self.x, torch.ones_like(self.x[..., :1])], -1)
        if output.requires_grad:
            output.register_hook(self.backward)

    def backward(self, gradient):
        if self.is_norm:
            self.g = gradient
        elif gradient.dim() == 4:
            self.g = gradient.flatten(2).transpose(1, 2)
        else:
            self.g = gradient.reshape(gradient.shape[0], -1, gradient.shape[-1])

    def each(self):
        """The gradient of each image: `[images, outputs, inputs]`, or `[images, 2, channels]` of a norm."""
        if self.is_norm:
            axes = tuple(range(2, self.g.dim()))
            return torch.stack([(self.g * self.x).sum(axes), self.g.sum(axes)], 1)
        return torch.einsum("nso,nsi->noi", self.g, self.x)

    def of_parameters(self):
        """The gradient that backward() left, in the same form without images."""
        weight, bias = self.module.weight.grad, self.module.bias
        if self.is_norm:
            return torch.stack([weight, bias.grad])
        flat = weight.flatten(1)
        return flat if bias is None else torch.cat([flat, bias.grad[:, None]], 1)


class Influence:
    """The network of a bank, its curvature, and gradients in the bases of that."""

    def __init__(self, bank, mnist):
        axes = json.loads((bank / "axes.json").read_text())
        torch.manual_seed(0)
        self.net = UNet2DModel.from_pretrained(bank / "network", subfolder="unet")
        self.net.eval()
        betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
        self.bar = torch.cumprod(1 - betas, 0)
        self.train = resized(idx_images(mnist, "train")[[int(name) for name in axes["names"]["images"]]])
        samples = torch.tensor(np.load(bank / "samples/images.npy")).reshape(-1, 1, 16, 16).float()
        held = resized(idx_images(mnist, "t10k")[[int(name) for name in axes["names"]["queries of held-out-24"]]])
        self.queries = {"samples": samples, "held-out-24": held}
        kinds = (torch.nn.Conv2d, torch.nn.Linear, torch.nn.GroupNorm)
        self.layers = [Layer(module) for module in self.net.modules() if isinstance(module, kinds)]
        self.measure_curvature()

    def noised(self, x, t, eps):
        a, b = self.bar[t].sqrt().float(), (1 - self.bar[t]).sqrt().float()
        return a[:, None, None, None] * x + b[:, None, None, None] * eps

    def pseudo_passes(self, seed):
        """A pass for each batch of images and draw, after which every layer has pseudo-gradients of the mean squared error."""
        generator = torch.Generator().manual_seed(seed)
        for draw in range(CURVATURE_DRAWS):
            for first in range(0, len(self.train), BATCH):
                x = self.train[first : first + BATCH]
                # Timesteps spread evenly over a batch, at another place for each draw.
                t = torch.randperm(1000, generator=generator)[: len(x)]
                output = self.net(self.noised(x, t, torch.randn(x.shape, generator=generator)), t).sample
                white = torch.randn(output.shape, generator=generator)
                self.net.zero_grad()
                ((2 / output[0].numel()) ** 0.5 * output * white).sum().backward()
                yield len(x)

    def measure_curvature(self):
        factors = [[0, 0] for _ in self.layers]
        count = 0
        for images in self.pseudo_passes(1):
            count += images
            for layer, factor in zip(self.layers, factors):
                if not layer.is_norm:
                    factor[0] = factor[0] + torch.einsum("nsi,nsj->ij", layer.x, layer.x).double()
                    factor[1] = factor[1] + torch.einsum("nso,nsp->op", layer.g, layer.g).double()
        self.bases = [
            None if layer.is_norm else [torch.linalg.eigh(part / count)[1].float() for part in factor]
            for layer, factor in zip(self.layers, factors)
        ]
        self.eigenvalues = [0 for _ in self.layers]
        for _ in self.pseudo_passes(2):
            for place, (layer, basis) in enumerate(zip(self.layers, self.bases)):
                squares = rotated(layer.each(), basis).square().sum(0).double()
                self.eigenvalues[place] = self.eigenvalues[place] + squares / count
        print("the curvature is measured", flush=True)
        Layer.watches = False

    @torch.no_grad()
    def loss(self, image, t, eps):
        """The mean loss of an image over draws."""
        output = self.net(self.noised(image.expand(len(t), -1, -1, -1), t, eps), t).sample
        return F.mse_loss(output, eps).double()

    def backward(self, image, t, eps, mean=True):
        """The loss of an image at draws, mean or sum over them, and its gradient in every parameter."""
        self.net.zero_grad()
        output = self.net(self.noised(image.expand(len(t), -1, -1, -1), t, eps), t).sample
        loss = F.mse_loss(output, eps)
        (loss if mean else loss * len(t)).backward()

    def gradient(self, image, t, eps):
        """The mean gradient over draws, a part for each layer."""
        self.backward(image, t, eps)
        return [rotated(layer.of_parameters(), basis) for layer, basis in zip(self.layers, self.bases)]

    def gradients(self, image, t, eps):
        """The gradient of each draw, `[draws, parameters]`."""
        Layer.watches = True
        self.backward(image, t, eps, mean=False)
        Layer.watches = False
        parts = [rotated(layer.each(), basis) for layer, basis in zip(self.layers, self.bases)]
        return torch.cat([part.flatten(1) for part in parts], 1)

    def solved(self, parts):
        """The damped inverse times a gradient."""
        values = self.eigenvalues
        whole = [part / (value + SHARE * value.mean()).float() for part, value in zip(parts, values)]
        return flat(whole)


def rotated(gradient, basis):
    return gradient if basis is None else basis[1].T @ gradient @ basis[0]


def flat(parts):
    return torch.cat([part.flatten() for part in parts])


def shared_draws(draws):
    """Places in the schedule and noises that all images share."""
    t = ((torch.arange(draws) + 0.5) * 1000 / draws).long()
    return t, torch.randn((draws, 1, 16, 16), generator=torch.Generator().manual_seed(3))


def main():
    bank, mnist, out = map(Path, sys.argv[1:4])
    influence = Influence(bank, mnist)
    draws = shared_draws(int(sys.argv[4]) if len(sys.argv) > 4 else 50)
    of_queries = {
        name: torch.stack([influence.solved(influence.gradient(image[None], *draws)) for image in images])
        for name, images in influence.queries.items()
    }
    scores = {name: [] for name in influence.queries}
    for number, image in enumerate(influence.train):
        own = flat(influence.gradient(image[None], *draws))
        for name, solved_queries in of_queries.items():
            scores[name].append(solved_queries @ own)
        if number % 100 == 99:
            print(f"{number + 1} training images", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    for name, columns in scores.items():
        array = torch.stack(columns, 1).double().numpy()
        if not np.isfinite(array).all() or math.isclose(float(np.abs(array).max()), 0.0):
            sys.exit(f"{name}: scores are no numbers")
        np.save(out / f"{name}.npy", array)


if __name__ == "__main__":
    main()
