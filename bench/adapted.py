"""A network of Stable Diffusion 1.5's size with weights that mean nothing, an adapter of it, and gradients in the adapter."""

import copy
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file

import pytorch_side as side

# The keys of Stable Diffusion 1.5 that are not defaults of diffusers; latents of 32x32, which is 256 pixels.
CONFIG = {"sample_size": 32, "cross_attention_dim": 768, "attention_head_dim": 8}
RANK = 4
LAYERS = ("to_q", "to_k", "to_v", "to_out.0")


def make_pipeline(folder: Path):
    """Writes the network in half precision as a pipeline's folder, and the adapter as a file of diffusers."""
    torch.manual_seed(0)
    model = UNet2DConditionModel(**CONFIG)
    (folder / "unet").mkdir(parents=True)
    model.half().save_pretrained(folder / "unet")
    DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "DDIMScheduler"], "unet": ["diffusers", "UNet2DConditionModel"]}'
    )
    tensors = {}
    for name, module in model.named_modules():
        if name.endswith(LAYERS):
            tensors[f"unet.{name}.lora_A.weight"] = torch.randn(RANK, module.in_features) / RANK
            tensors[f"unet.{name}.lora_B.weight"] = torch.randn(module.out_features, RANK) * 0.02
    save_file(tensors, folder / "adapter.safetensors")


class Adapted(torch.nn.Module):
    """A linear layer with a part of low rank beside it, as peft computes it (scale 1)."""

    def __init__(self, layer, down, up):
        super().__init__()
        self.layer, self.lora_A, self.lora_B = layer, torch.nn.Parameter(down), torch.nn.Parameter(up)

    def forward(self, x, *_):
        return self.layer(x) + (x @ self.lora_A.T) @ self.lora_B.T


def open_adapted(folder: Path, dtype):
    """The network with its adapter; only the adapter is trained."""
    model = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype).requires_grad_(False)
    tensors = side.load(folder / "adapter.safetensors")
    adapted = {}
    for name, module in list(model.named_modules()):
        if name.endswith(LAYERS):
            parts = [tensors[f"unet.{name}.{part}.weight"].to(dtype) for part in ("lora_A", "lora_B")]
            adapted[name] = Adapted(module, *parts)
    for name, module in adapted.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, module)
    return model, adapted


class Gradients:
    """The gradient of the mean squared error of some draws in the adapter, mean over the draws."""

    def __init__(self, folder: Path, draws: dict, dtype=torch.float32, at_once=None):
        self.model, self.adapted = open_adapted(folder, dtype)
        self.timesteps = draws["timestep"].long()
        bar = DDIMScheduler.from_pretrained(folder / "scheduler").alphas_cumprod.double()[self.timesteps].view(-1, 1, 1, 1)
        noise = side.channels_first(draws["noise"]).double()
        image = side.channels_first(draws["image"])[None].double()
        self.noisy = (bar.sqrt() * image + (1 - bar).sqrt() * noise).to(dtype)
        self.noise, self.text = noise.to(dtype), draws["text"].to(dtype)
        self.at_once = at_once or len(self.timesteps)

    def run(self):
        for module in self.adapted.values():
            module.lora_A.grad = module.lora_B.grad = None
        for first in range(0, len(self.timesteps), self.at_once):
            part = slice(first, first + self.at_once)
            text = self.text.expand(len(self.timesteps[part]), -1, -1)
            output = self.model(self.noisy[part], self.timesteps[part], text).sample
            loss = torch.nn.functional.mse_loss(output, self.noise[part], reduction="sum") / self.noise[0].numel()
            (loss / len(self.timesteps)).backward()

    def by_name(self):
        return {f"{name}.{part}.weight": getattr(module, part).grad for name, module in self.adapted.items() for part in ("lora_A", "lora_B")}
