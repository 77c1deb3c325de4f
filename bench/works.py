"""The pieces of work: what both sides do, how they are checked to agree, and the ways PyTorch can do it."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import torch

import pytorch_side as side

BENCH = Path(__file__).resolve().parent
SMALL, LARGE = BENCH / "unet_28.json", BENCH / "unet_32.json"
CHANNELS_LAST = torch.channels_last


@dataclass
class Work:
    """One comparison. Every variant does the work once and returns its seconds; pentimento's is the first."""

    title: str
    timed: str
    variants: dict[str, Callable[[], float]] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # At most so many rounds, for work that takes minutes.
    rounds: int | None = None
    extra: dict = field(default_factory=dict)
    # What a variant's seconds stand for, as a multiple of what it did; one if it is not named.
    scales: dict[str, float] = field(default_factory=dict)
    # How many times a variant does the work, whose seconds are then divided by it.
    repeats: int = 1
    # Work of a known number of floating-point operations.
    operations: float | None = None
    # What a user counts, and how many.
    unit: tuple[str, float] | None = None


def seconds_of(work: Callable[[], object]) -> float:
    """Does the work and returns its seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def add_variant(work: Work, name: str, make: Callable[[], Callable[[], object]]):
    """Adds a variant of PyTorch if it runs here, after running it once (which also compiles); else a note."""
    try:
        run = make()
        run()
    except Exception as error:  # PyTorch's own failures are many, and each is a result.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        work.notes.append(f"{name} does not work here: {type(error).__name__}: {reason[0][:160]}")
        return
    work.variants[name] = lambda: seconds_of(run)


def training(pentimento, folder: Path, quick: bool, config: Path, images: int, title: str):
    """Training steps of one network."""
    work = Work(
        title,
        "one step on a batch at hand: drawing noise and timesteps, adding the noise, forward, loss, backward, Adam",
        unit=("images/s", images),
    )
    parameters = pentimento.ask("open", config=config, folder=folder, members=1)["parameters"]
    loss = pentimento.ask("prepare_training", images=images, folder=folder)["loss"]
    model = side.open_member(folder, 0)
    assert parameters == sum(p.numel() for p in model.parameters()), "both sides have the same parameters"
    work.extra["parameters"] = parameters

    batch, gradient = side.load(folder / "batch.safetensors"), side.load(folder / "gradient.safetensors")
    x0 = side.channels_first(batch["image"])
    theirs = side.noise_loss(model, x0, side.channels_first(batch["noise"]), batch["timestep"].long())
    theirs.backward()
    of_all = [(gradient[name], p.grad) for name, p in model.named_parameters()]
    ours, expected = (torch.cat([pair[i].flatten() for pair in of_all]) for i in (0, 1))
    work.agreement["gradient, relative to its largest entry"] = side.relative_difference(ours, expected)
    work.agreement["gradient, relative to its length"] = ((ours - expected).norm() / expected.norm()).item()
    work.agreement["loss, relative"] = abs(loss - theirs.item()) / theirs.item()
    model.zero_grad(set_to_none=True)

    work.variants["pentimento"] = lambda: pentimento.seconds("train")
    add_variant(work, "eager, NCHW", lambda: side.Training(model, x0).step)
    add_variant(work, "eager, channels_last", lambda: side.Training(model, x0, CHANNELS_LAST).step)
    if not quick:
        add_variant(work, "torch.compile, NCHW", lambda: side.Training(model, x0, compiled=True).step)
        add_variant(
            work, "torch.compile, channels_last", lambda: side.Training(model, x0, CHANNELS_LAST, compiled=True).step
        )
    return work


def training_small(pentimento, folder, quick):
    return training(pentimento, folder, quick, SMALL, 64, "training step, U-Net 1.16 M (32, 64, 64), 28x28x1, 64 images")


def training_large(pentimento, folder, quick):
    return training(
        pentimento, folder, quick, LARGE, 8, "training step, U-Net 25.8 M (128, 256, 256), 32x32x3, 8 images"
    )


def open_members(pentimento, folder: Path, count: int):
    pentimento.ask("open", config=SMALL, folder=folder, members=count)
    return [side.open_member(folder, member) for member in range(count)]


def sampling(pentimento, folder, quick):
    """Samples of an ensemble."""
    images, steps, count = (16, 3, 7) if quick else (64, 10, 7)
    work = Work(
        f"sampling, ensemble of {count} U-Nets 1.16 M, {images} images, {steps} steps",
        "from fresh noise to finished images, with every member in each step",
        unit=("images/s", images),
        rounds=7,
    )
    members = open_members(pentimento, folder, count)
    file = folder / "samples.safetensors"
    pentimento.ask("sample", images=images, steps=steps, file=file)
    arrays = side.load(file)
    noise, ours = side.channels_first(arrays["noise"]), side.channels_first(arrays["sample"])
    sampler, shape = side.Sampler(steps), tuple(noise.shape[2:])
    plain = side.Ensemble(members)
    with torch.inference_mode():
        theirs = sampler.run(plain.predict, noise[0], lambda step: noise[step + 1])
    # Images are clamped to [-1, 1] when they are shown; before, values may be far beyond.
    work.agreement["image before its clamp, relative to its largest entry"] = side.relative_difference(ours, theirs)
    work.agreement["image, relative to its largest entry"] = side.relative_difference(ours.clamp(-1, 1), theirs.clamp(-1, 1))

    def variant(name, make, **options):
        add_variant(work, name, lambda: (lambda ensemble: lambda: side.sample(ensemble, sampler, images, shape, **options))(make()))

    work.variants["pentimento"] = lambda: pentimento.seconds("sample", images=images, steps=steps)
    variant("eager, NCHW", lambda: plain)
    variant("eager, channels_last", lambda: side.Ensemble(members, CHANNELS_LAST))
    variant("vmap over stacked members", lambda: side.StackedEnsemble(members), inference=torch.no_grad)
    if not quick:
        variant("torch.compile, NCHW", lambda: side.Ensemble(members, compiled=True))
        variant("torch.compile, channels_last", lambda: side.Ensemble(members, CHANNELS_LAST, compiled=True))
    return work


def jacobian(pentimento, folder, quick):
    """The derivative of one sample in every member's weight."""
    steps, count = (4 if quick else 50), 7
    work = Work(
        f"full Jacobian of one sample, {count} U-Nets 1.16 M, {steps} steps",
        "from recorded noise to the sample and its derivative in each member's weight (forward mode, tangents of all members)",
    )
    members = open_members(pentimento, folder, count)
    file = folder / "jacobian.safetensors"
    pentimento.ask("jacobian", steps=steps, file=file)
    arrays = side.load(file)
    noise, ours = side.channels_first(arrays["noise"]), side.channels_first(arrays["jacobian"])
    start, later = noise[0], noise[1:]
    sampler = side.Sampler(steps)
    derivative = side.Derivative(members)
    with torch.no_grad():
        theirs = derivative.together(sampler, start, later)[:, 0]
    work.agreement["columns, relative to their largest entry"] = side.relative_difference(ours, theirs)
    work.agreement["columns, relative to their length"] = ((ours - theirs).norm() / theirs.norm()).item()

    def run(method, *arguments):
        def work_once():
            with torch.no_grad():
                method(sampler, start, later, *arguments)

        return work_once

    work.variants["pentimento"] = lambda: pentimento.seconds("jacobian", steps=steps)
    # All n passes are alike, and together take PyTorch minutes.
    passes = f"{count} jvp passes, NCHW, scaled from one"
    add_variant(work, passes, lambda: run(derivative.one_by_one, 1))
    work.scales[passes] = count
    add_variant(work, "vmap over tangents, NCHW", lambda: run(derivative.together))
    if not quick:
        last = side.Derivative(members, CHANNELS_LAST)
        add_variant(work, "vmap over tangents, channels_last", lambda: run(last.together))
    return work


def search(pentimento, folder, quick):
    """The two-stage search against exact counterfactuals of all codes; both by pentimento."""
    members, weight, steps = 16, 8, 10 if quick else 50
    candidates, exact, subset = 32, 10, 16 if quick else 64
    pentimento.ask("open", config=SMALL, folder=folder, members=members)
    found = pentimento.ask("search", steps=steps, weight=weight, candidates=candidates, exact=exact)
    work = Work(
        f"top 10 of {found['codes']:,} codes of one sample, {members} U-Nets 1.16 M, {steps} steps",
        f"the search: base run, one-member Jacobian and second order over all codes, control variate of {candidates} candidates, "
        f"{exact} of them exactly. Its rival, also pentimento: the exact counterfactual of every code, measured on the first {subset} (codes are drawn in random order) and scaled",
    )
    work.variants["pentimento"] = lambda: pentimento.seconds(
        "search", steps=steps, weight=weight, candidates=candidates, exact=exact
    )
    every_code = f"every code exactly, scaled from {subset}"
    work.variants[every_code] = lambda: pentimento.seconds("exact", steps=steps, weight=weight, codes=subset)
    work.scales[every_code] = found["codes"] / subset
    return work


def convolution(pentimento, folder, quick, images, side_pixels, channels):
    """3x3 convolutions of one shape."""
    file = folder / "convolution.safetensors"
    pentimento.ask("prepare_convolution", images=images, side=side_pixels, channels=channels, file=file)
    work = Work(
        f"3x3 convolution forward, {images} images {side_pixels}x{side_pixels}, {channels} channels",
        f"{REPEATS} calls with bias in a row, divided by {REPEATS}; output in memory that is at hand (PyTorch: newly allocated)",
        repeats=REPEATS,
        operations=2.0 * images * side_pixels**2 * 9 * channels**2,
    )
    arrays = side.load(file)
    inputs, bias = side.channels_first(arrays["input"]), arrays["bias"]
    weight = arrays["weight"].permute(3, 2, 0, 1).contiguous()

    def variant(layout):
        x, w = inputs.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)

        def run():
            with torch.inference_mode():
                for _ in range(REPEATS):
                    output = torch.nn.functional.conv2d(x, w, bias, padding=1)
                return output

        return run

    theirs = variant(torch.contiguous_format)()
    work.agreement["output, relative to its largest entry"] = side.relative_difference(
        side.channels_first(arrays["output"]), theirs
    )
    work.variants["pentimento"] = lambda: pentimento.seconds("convolution", repeats=REPEATS)
    add_variant(work, "NCHW", lambda: variant(torch.contiguous_format))
    add_variant(work, "channels_last", lambda: variant(CHANNELS_LAST))
    return work


def adapter(pentimento, folder, quick):
    """Gradients of a network over texts in the parameters of an adapter."""
    from adapted import Gradients, make_pipeline

    draws = 4
    make_pipeline(folder / "pipeline")
    opened = pentimento.ask("open_adapted", pipeline=folder / "pipeline", adapter=folder / "pipeline" / "adapter.safetensors", draws=draws, folder=folder)
    arrays, ours = side.load(folder / "draws.safetensors"), side.load(folder / "gradient.safetensors")
    theirs = Gradients(folder / "pipeline", arrays)
    work = Work(
        f"gradient of one image at {draws} draws in an adapter of rank 4, in f32, U-Net of Stable Diffusion 1.5's size (0.86 G, read from f16), latents 32x32x4, 77 tokens",
        "noising, forward, loss, backward to the adapter; the draws together",
        unit=("draws/s", draws),
        rounds=3,
        extra={"parameters": theirs.model.num_parameters(), "trained": opened["trained"], "seconds to open": opened["seconds"]},
    )
    theirs.run()
    gradient = theirs.by_name()
    assert gradient.keys() == ours.keys(), "both sides have the same parameters"
    together = [torch.cat([values[name].flatten() for name in sorted(ours)]) for values in (ours, gradient)]
    work.agreement["gradient, relative to its largest entry"] = side.relative_difference(*together)
    work.variants["pentimento"] = lambda: pentimento.seconds("adapted_gradient")
    add_variant(work, "eager, f32, together", lambda: theirs.run)
    if not quick:
        add_variant(work, "eager, f32, one by one", lambda: Gradients(folder / "pipeline", arrays, at_once=1).run)
        # Another precision is no variant of the same work; what it takes is told beside it.
        coarse = Gradients(folder / "pipeline", arrays, torch.bfloat16)
        coarse.run()
        seconds = sorted(seconds_of(coarse.run) for _ in range(3))[1]
        work.notes.append(f"in bf16, whose gradients are other numbers, PyTorch takes {seconds:.2f} s")
    return work


def layer(pentimento, folder, quick, kind, backward, **shape):
    """One layer of a transformer, with or without its backward pass."""
    file = folder / "layer.safetensors"
    pentimento.ask("prepare_layer", layer={"kind": kind, **shape}, file=file)
    arrays = side.load(file)
    names, run_once, title, operations = LAYERS[kind](arrays, shape)
    # The weight of a linear layer stands still, as beneath an adapter.
    tracked = names[:1] if kind == "linear" else names
    work = Work(
        f"{title}, forward{' and backward' if backward else ''}",
        f"{REPEATS} calls in a row, divided by {REPEATS}; output in memory that is at hand (PyTorch: newly allocated)"
        + ("; gradients of " + ", ".join(tracked) if backward else ""),
        repeats=REPEATS,
        operations=operations and operations * (BACKWARD_OPERATIONS[kind] if backward else 1),
    )

    def run():
        if not backward:
            with torch.inference_mode():
                for _ in range(REPEATS):
                    output = run_once(*(arrays[name] for name in names))
            return output, None
        for _ in range(REPEATS):
            given = [arrays[name].detach().requires_grad_(name in tracked) for name in names]
            output = run_once(*given)
            output.backward(arrays["upstream"])
        return output, {name: value.grad for name, value in zip(names, given) if name in tracked}

    output, gradients = run()
    work.agreement["output, relative to its largest entry"] = side.relative_difference(arrays["output"], output)
    for name, gradient in (gradients or {}).items():
        work.agreement[f"gradient of {name}, relative to its largest entry"] = side.relative_difference(arrays[f"of_{name}"], gradient)
    work.variants["pentimento"] = lambda: pentimento.seconds("layer", repeats=REPEATS, backward=backward)
    add_variant(work, "eager", lambda: run)
    return work


def linear(arrays, shape):
    weight = arrays["weight"].T.contiguous()
    rows, inputs, outputs = shape["images"] * shape["tokens"], shape["input"], shape["output"]
    return (
        ["input", "bias"],
        lambda x, bias: torch.nn.functional.linear(x, weight, bias),
        f"linear layer, {rows} tokens, {inputs} to {outputs} channels",
        2.0 * rows * inputs * outputs,
    )


def layer_norm(arrays, shape):
    channels = shape["channels"]
    return (
        ["input", "scale", "shift"],
        lambda x, scale, shift: torch.nn.functional.layer_norm(x, (channels,), scale, shift, 1e-5),
        f"layer norm, {shape['tokens']} tokens of {channels} channels",
        None,
    )


def attention(arrays, shape):
    images, heads, channels = shape["images"], shape["heads"], shape["channels"]

    def split(x):
        return x.view(images, -1, heads, channels // heads).transpose(1, 2)

    def run_once(queries, keys, values):
        # As diffusers calls it.
        made = torch.nn.functional.scaled_dot_product_attention(split(queries), split(keys), split(values))
        return made.transpose(1, 2).reshape(images, -1, channels)

    return (
        ["queries", "keys", "values"],
        run_once,
        f"attention, {images} images, {shape['queries']} queries over {shape['keys']} keys, {heads} heads of {channels // heads} channels",
        4.0 * images * shape["queries"] * shape["keys"] * channels,
    )


LAYERS = {"linear": linear, "layer_norm": layer_norm, "attention": attention}
# Products of a forward and a backward pass, in those of a forward pass: a linear layer's weight has no gradient; an attention
# makes its scores again, and has two products for each of its two.
BACKWARD_OPERATIONS = {"linear": 2.0, "attention": 3.5}

# Stable Diffusion 1.5's at latents of 32x32, four draws at once: three levels, the text of 77 tokens, and the layers around gates.
LAYER_SHAPES = [
    shape
    for pixels, channels in [(1024, 320), (256, 640), (64, 1280)]
    for shape in [
        ("attention", {"images": 4, "queries": pixels, "keys": pixels, "heads": 8, "channels": channels}),
        ("attention", {"images": 4, "queries": pixels, "keys": 77, "heads": 8, "channels": channels}),
        ("linear", {"images": 4, "tokens": pixels, "input": channels, "output": channels}),
        ("linear", {"images": 4, "tokens": pixels, "input": channels, "output": 8 * channels}),
        ("linear", {"images": 4, "tokens": pixels, "input": 4 * channels, "output": channels}),
        ("layer_norm", {"tokens": 4 * pixels, "channels": channels}),
    ]
]

# Of a few milliseconds; in a row, as a network calls them, so that threads are awake.
REPEATS = 20
CONVOLUTIONS = [(64, 28, 32), (64, 14, 64), (64, 7, 64), (8, 32, 128), (8, 16, 256)]

WORKS = {
    "train-small": [training_small],
    "train-large": [training_large],
    "sample": [sampling],
    "jacobian": [jacobian],
    "search": [search],
    "adapter": [adapter],
    "convolution": [
        lambda pentimento, folder, quick, shape=shape: convolution(pentimento, folder, quick, *shape)
        for shape in CONVOLUTIONS
    ],
    "layer": [
        lambda pentimento, folder, quick, kind=kind, shape=shape, backward=backward: layer(
            pentimento, folder, quick, kind, backward, **shape
        )
        for kind, shape in LAYER_SHAPES
        for backward in (False, True)
    ],
}
