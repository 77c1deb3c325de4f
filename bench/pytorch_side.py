"""PyTorch's side: the same networks opened by diffusers, and the same work written as its users would write it."""

import copy
from pathlib import Path

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from safetensors.torch import load_file
from torch.func import functional_call, jacfwd, jvp, stack_module_state, vmap

TIMESTEPS = 1000
LEARNING_RATE = 1e-6
ALPHAS_CUMPROD = torch.cumprod(1 - torch.linspace(1e-4, 0.02, TIMESTEPS, dtype=torch.float64), 0)


def open_member(folder: Path, member: int) -> UNet2DModel:
    """A member folder that pentimento wrote, as diffusers reads it."""
    return UNet2DModel.from_pretrained(folder / f"{member:03}" / "unet")


def channels_first(images: torch.Tensor) -> torch.Tensor:
    """From `[..., height, width, channels]` to `[..., channels, height, width]`."""
    return images.movedim(-1, -3).contiguous()


def relative_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, relative to the largest entry."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def noise_loss(model, images, noise, timesteps):
    """Mean squared error of the predicted noise: Algorithm 1 of Ho et al. (2020)."""
    bar = ALPHAS_CUMPROD[timesteps].float().view(-1, 1, 1, 1)
    noisy = bar.sqrt() * images + (1 - bar).sqrt() * noise
    return torch.nn.functional.mse_loss(model(noisy, timesteps).sample, noise)


class Training:
    """Training steps on a batch that is at hand: draw noise and timesteps, add the noise, forward, backward, Adam."""

    def __init__(self, model, images, layout=torch.contiguous_format, compiled=False):
        self.model = copy.deepcopy(model).train().to(memory_format=layout)
        self.images = images.contiguous(memory_format=layout)
        self.loss = torch.compile(noise_loss) if compiled else noise_loss
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=True)

    def step(self):
        noise = torch.randn_like(self.images)
        timesteps = torch.randint(TIMESTEPS, (len(self.images),))
        self.optimiser.zero_grad(set_to_none=True)
        self.loss(self.model, self.images, noise, timesteps).backward()
        self.optimiser.step()


class Sampler:
    """Ancestral sampling, Algorithm 2 of Ho et al. (2020), on a subset of timesteps, clipped in each step but the last."""

    def __init__(self, steps: int):
        self.timesteps = [index * (TIMESTEPS // steps) for index in reversed(range(steps))]
        self.coefficients = []
        for place, timestep in enumerate(self.timesteps):
            bar = ALPHAS_CUMPROD[timestep].item()
            last = place + 1 == steps
            previous = 1.0 if last else ALPHAS_CUMPROD[self.timesteps[place + 1]].item()
            alpha = bar / previous
            beta = 1 - alpha
            self.coefficients.append({
                "image": bar**-0.5,
                "noise_to_image": -(((1 - bar) / bar) ** 0.5),
                "from_image": previous**0.5 * beta / (1 - bar),
                "from_x": alpha**0.5 * (1 - previous) / (1 - bar),
                "sigma": (beta * (1 - previous) / (1 - bar)) ** 0.5,
                "last": last,
            })

    def run(self, predict, start, noise_after):
        """`predict(x, timestep)` is the ensemble's noise; `noise_after(step)` what is added, never asked for the last."""
        x = start
        for step, (timestep, c) in enumerate(zip(self.timesteps, self.coefficients)):
            image = c["image"] * x + c["noise_to_image"] * predict(x, timestep)
            if c["last"]:
                return image
            x = c["from_image"] * image.clamp(-1, 1) + c["from_x"] * x + c["sigma"] * noise_after(step)


def with_plain_attention(model):
    """PyTorch's fused attention has neither a forward-mode derivative nor a rule for vmap."""
    for module in model.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())
    return model


class Ensemble:
    """The mean of several members' predicted noises."""

    def __init__(self, members, layout=torch.contiguous_format, compiled=False):
        self.members = [copy.deepcopy(member).eval().requires_grad_(False).to(memory_format=layout) for member in members]
        if compiled:
            self.members = [torch.compile(member) for member in self.members]
        self.layout = layout

    def predict(self, x, timestep):
        total = 0
        for member in self.members:
            total = total + member(x, timestep).sample
        return total / len(self.members)


class StackedEnsemble:
    """The same with the members' parameters stacked and one call under vmap: PyTorch's own way of ensembling."""

    def __init__(self, members):
        members = [with_plain_attention(copy.deepcopy(member).eval().requires_grad_(False)) for member in members]
        self.layout = torch.contiguous_format
        self.parameters, self.buffers = stack_module_state(members)
        skeleton = copy.deepcopy(members[0]).to("meta")
        call = lambda parameters, buffers, x, t: functional_call(skeleton, (parameters, buffers), (x, t)).sample
        self.call = vmap(call, in_dims=(0, 0, None, None))

    def predict(self, x, timestep):
        return self.call(self.parameters, self.buffers, x, torch.tensor([timestep])).mean(0)


def sample(ensemble, sampler, images, shape, inference=torch.inference_mode):
    """Samples from fresh noise."""
    with inference():
        draw = lambda: torch.randn(images, *shape).contiguous(memory_format=ensemble.layout)
        return sampler.run(ensemble.predict, draw(), lambda step: draw())


class Derivative:
    """The derivative of one sample in the members' weights, by forward mode through the sampler."""

    def __init__(self, members, layout=torch.contiguous_format):
        self.members = [copy.deepcopy(member).eval().requires_grad_(False).to(memory_format=layout) for member in members]
        for member in self.members:
            with_plain_attention(member)
        self.layout = layout

    def sample_of_weights(self, sampler, start, noise):
        """y(w) for the recorded noise."""

        def y(weights):
            def predict(x, timestep):
                return sum(weight * member(x, timestep).sample for weight, member in zip(weights, self.members))

            return sampler.run(predict, start, lambda step: noise[step])

        return y

    def one_by_one(self, sampler, start, noise, directions):
        """One pass per direction. Returns the columns of the first `directions` members, `[member, ...]`."""
        start, noise = start.contiguous(memory_format=self.layout), noise
        y = self.sample_of_weights(sampler, start, noise)
        count = len(self.members)
        weights = torch.full((count,), 1 / count)
        return torch.stack([jvp(y, (weights,), (direction,))[1] for direction in torch.eye(count)[:directions]])

    def together(self, sampler, start, noise):
        """All directions in one pass, batched by vmap."""
        start = start.contiguous(memory_format=self.layout)
        y = self.sample_of_weights(sampler, start, noise)
        count = len(self.members)
        return jacfwd(y)(torch.full((count,), 1 / count)).movedim(-1, 0)


def load(file: Path) -> dict:
    """Arrays that pentimento wrote."""
    return load_file(file)
