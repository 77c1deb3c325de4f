"""Networks with configurations and schedulers that the golden cases leave out, and what diffusers computes with them.

Every number is computed in float64 from the float32 weights on disk.

Needs: torch, diffusers, safetensors.  Usage: python make.py OUT_DIR
"""
import json
import math
import sys
from pathlib import Path

import diffusers.schedulers.scheduling_ddpm as ddpm_module
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from safetensors.torch import save_file
from torch.func import jvp

TWO_LEVELS = dict(
    sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(4, 8),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    norm_num_groups=2, attention_head_dim=4)
ATTENTION_EVERYWHERE = dict(down_block_types=("AttnDownBlock2D",) * 2, up_block_types=("AttnUpBlock2D",) * 2)

NETWORKS = {
    "class_table": TWO_LEVELS | dict(num_class_embeds=5),
    "class_as_timestep": TWO_LEVELS | dict(class_embed_type="timestep", num_class_embeds=7),
    "resnet_resampling": TWO_LEVELS | dict(
        sample_size=12, block_out_channels=(4, 8, 8), downsample_type="resnet", upsample_type="resnet",
        down_block_types=("AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "AttnUpBlock2D")),
    "scale_shift_resampling": TWO_LEVELS | ATTENTION_EVERYWHERE | dict(
        downsample_type="resnet", upsample_type="resnet", resnet_time_scale_shift="scale_shift",
        attn_norm_num_groups=4, mid_block_scale_factor=2.0, time_embedding_dim=24, dropout=0.3),
    "without_middle_attention": TWO_LEVELS | dict(
        add_attention=False, center_input_sample=True, freq_shift=1, flip_sin_to_cos=False, norm_eps=1e-3),
    "narrow_heads": TWO_LEVELS | ATTENTION_EVERYWHERE | dict(
        attention_head_dim=2, layers_per_block=3, downsample_padding=0, mid_block_scale_factor=math.sqrt(2),
        in_channels=3, out_channels=3),
    "one_level": TWO_LEVELS | dict(
        block_out_channels=(6,), down_block_types=("AttnDownBlock2D",), up_block_types=("AttnUpBlock2D",),
        attention_head_dim=None, norm_num_groups=3, act_fn="swish"),
}

SCHEDULERS = {
    "sample_prediction": (DDPMScheduler, dict(prediction_type="sample"), 6),
    "v_prediction": (DDPMScheduler, dict(prediction_type="v_prediction", variance_type="fixed_large"), 6),
    "sigmoid_betas": (DDPMScheduler, dict(beta_schedule="sigmoid", variance_type="fixed_small_log"), 20),
    "cosine_betas": (DDPMScheduler, dict(beta_schedule="squaredcos_cap_v2", clip_sample_range=2.5), 7),
    "trained_betas": (DDPMScheduler, dict(trained_betas=[0.001 + 0.002 * i for i in range(20)]), 20),
    "narrow_clip": (DDPMScheduler, dict(clip_sample_range=0.5), 5),
    "trailing": (DDPMScheduler, dict(timestep_spacing="trailing"), 4),
    "offset": (DDPMScheduler, dict(steps_offset=1), 5),
    "offset_large": (DDPMScheduler, dict(steps_offset=1, variance_type="fixed_large"), 5),
    "trailing_large": (DDPMScheduler, dict(timestep_spacing="trailing", variance_type="fixed_large", steps_offset=1), 4),
    "trailing_uneven": (DDPMScheduler, dict(timestep_spacing="trailing"), 12),
    "linspace": (DDPMScheduler, dict(timestep_spacing="linspace", clip_sample=False), 6),
    "zero_snr": (DDPMScheduler, dict(rescale_betas_zero_snr=True, prediction_type="v_prediction",
                                     timestep_spacing="trailing"), 5),
    "ddim": (DDIMScheduler, dict(), 5),
    "ddim_sample": (DDIMScheduler, dict(prediction_type="sample", clip_sample=False), 5),
    "ddim_v": (DDIMScheduler, dict(prediction_type="v_prediction", rescale_betas_zero_snr=True,
                                   timestep_spacing="trailing"), 5),
    "ddim_trailing_uneven": (DDIMScheduler, dict(timestep_spacing="trailing", clip_sample=False), 7),
    "ddim_offset": (DDIMScheduler, dict(steps_offset=1, set_alpha_to_one=False, beta_schedule="scaled_linear",
                                        clip_sample=False), 5),
}
TIMESTEPS = 20


def randomise(model, generator):
    """Weights of ordinary size everywhere: diffusers starts some layers at zero, which would hide mistakes."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim > 1:
                p.copy_(noise / math.sqrt(p[0].numel()))
            else:
                p.copy_(0.1 * noise + (1 if "norm" in name and name.endswith("weight") else 0))


def network(out, name, arguments, seed):
    generator = torch.Generator().manual_seed(seed)
    model = UNet2DModel(**arguments).eval()
    for module in model.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())  # the fused attention has no forward-mode derivative
            module.upcast_softmax = False  # "up" to float32, which here is down
    randomise(model, generator)
    model.save_pretrained(out / name)
    model = model.double()
    shape = (arguments["in_channels"], arguments["sample_size"], arguments["sample_size"])
    x, tangent = (torch.randn(3, *shape, generator=generator).double() for _ in range(2))
    t = torch.tensor([0, 7, 19])
    classes = torch.tensor([4, 0, 2]) if model.class_embedding is not None else None
    # diffusers casts the sinusoids of timesteps to the network's type, but not those of classes.
    model.time_proj.register_forward_hook(lambda module, inputs, output: output.double())
    run = lambda z: model(z, t, classes).sample
    output, derivative = jvp(run, (x,), (tangent,))
    golden = {"x": x, "t": t, "out": output.detach(), "tangent": tangent, "derivative": derivative.detach()}
    if classes is not None:
        golden["class"] = classes
    model.zero_grad()
    run(x).square().mean().backward()
    for key, p in model.named_parameters():
        golden[f"gradient.{key}"] = p.grad
    golden = {k: v.float() if v.is_floating_point() else v for k, v in golden.items()}
    save_file({k: v.contiguous() for k, v in golden.items()}, out / name / "golden.safetensors")


def scheduler(name, kind, arguments, steps, seed):
    """A trajectory with outputs of a made-up network, so that only the scheduler is asked."""
    generator = torch.Generator().manual_seed(seed)
    normals = lambda *shape: torch.randn(*shape, generator=generator).double()
    scheduler = kind(num_train_timesteps=TIMESTEPS, **({"beta_end": 0.2} | arguments))
    config = dict(scheduler.config) | {"_class_name": kind.__name__}
    # The schedule in float64; diffusers' own is float32.
    scheduler.alphas_cumprod = in_double(config)
    if kind is DDIMScheduler:
        first = scheduler.alphas_cumprod[0]
        scheduler.final_alpha_cumprod = torch.tensor(1.0).double() if config["set_alpha_to_one"] else first
    scheduler.set_timesteps(steps)
    outputs, noises = normals(steps, 1, 4), normals(steps + 1, 1, 4)
    x, path = noises[0], []
    for step, t in enumerate(scheduler.timesteps):
        ddpm_module.randn_tensor = lambda *a, step=step, **k: noises[step + 1]
        # The output moves with x, so that what becomes of x counts too.
        x = scheduler.step(outputs[step] + 0.25 * x, t, x).prev_sample
        path.append(x[0].tolist())
    assert scheduler.alphas_cumprod.dtype == torch.float64 and x.dtype == torch.float64
    return {"config": config, "steps": steps, "timesteps": scheduler.timesteps.tolist(),
            "alphas_cumprod": scheduler.alphas_cumprod.tolist(), "outputs": outputs[:, 0].tolist(),
            "noises": noises[:, 0].tolist(), "path": path}


def in_double(config):
    """diffusers' cumulative alphas, computed by diffusers' own code in float64."""
    start, end, n = config["beta_start"], config["beta_end"], TIMESTEPS
    double = dict(dtype=torch.float64)
    if config["trained_betas"] is not None:
        betas = torch.tensor(config["trained_betas"], **double)
    elif config["beta_schedule"] == "linear":
        betas = torch.linspace(start, end, n, **double)
    elif config["beta_schedule"] == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, n, **double) ** 2
    elif config["beta_schedule"] == "squaredcos_cap_v2":
        bar = lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = torch.tensor([min(1 - bar((i + 1) / n) / bar(i / n), 0.999) for i in range(n)], **double)
    elif config["beta_schedule"] == "sigmoid":
        betas = torch.sigmoid(torch.linspace(-6, 6, n, **double)) * (end - start) + start
    own = DDPMScheduler(num_train_timesteps=n, **{k: config[k] for k in (
        "beta_start", "beta_end", "beta_schedule", "trained_betas")})
    assert (own.betas.double() - betas).abs().max() < 1e-6  # the same but for its rounding
    if config["rescale_betas_zero_snr"]:
        betas = ddpm_module.rescale_zero_terminal_snr(betas)
    return torch.cumprod(1 - betas, 0)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    for seed, (name, arguments) in enumerate(NETWORKS.items()):
        network(out, name, arguments, 100 + seed)
    paths = {name: scheduler(name, *arguments, 200 + seed)
             for seed, (name, arguments) in enumerate(SCHEDULERS.items())}
    (out / "schedulers.json").write_text(json.dumps(paths, indent=1) + "\n")
