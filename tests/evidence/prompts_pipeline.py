#!/usr/bin/env python3
"""A small pipeline with prompts for CIFAR-10, whose U-Net has learned nothing yet.

    python3 prompts_pipeline.py CIFAR OUT

CIFAR is a folder with the binary files of CIFAR-10 (`pentimento data fetch cifar10` says where they are). OUT becomes a folder that
diffusers' StableDiffusionPipeline opens: an autoencoder, trained here on the training split, which makes latents of 16x16 with four
channels out of pictures of 32x32; a tokenizer that knows the words of the captions; a text encoder of CLIP's kind and a U-Net of 1.5
million parameters, both with random weights. Whatever tells one caption from another is enough of a text encoder here. Needs
torch, diffusers, transformers.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

STEPS, BATCH = 2000, 32
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
WORDS = ["a", "photo", "of", *CLASSES]
TOKENS = 8  # "a photo of a truck" has five, and there is a first and a last


def pictures(folder, files):
    raw = np.concatenate([np.fromfile(folder / name, np.uint8).reshape(-1, 3073) for name in files])
    return torch.tensor(raw[:, 1:].reshape(-1, 3, 32, 32))


def scaled(batch):
    return batch.float() / 127.5 - 1


def autoencoder(train, test):
    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(24, 48),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
    )
    rate = lambda step: min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / STEPS))
    adam = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, rate)
    generator = torch.Generator().manual_seed(0)
    began = time.monotonic()
    for step in range(STEPS):
        shown = scaled(train[torch.randint(len(train), (BATCH,), generator=generator)])
        latent = model.encode(shown).latent_dist
        noise = torch.randn(latent.mean.shape, generator=generator)
        made = model.decode(latent.mean + latent.std * noise).sample
        loss = F.mse_loss(made, shown) + 0.1 * F.l1_loss(made, shown) + 1e-5 * latent.kl().mean() / 32
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        if step % 250 == 249:
            print(f"autoencoder: step {step + 1}, loss {loss.item():.4f}, {time.monotonic() - began:.0f} s", flush=True)
    model.eval()
    with torch.no_grad():
        latents = torch.cat([model.encode(scaled(train[first : first + 500])).latent_dist.mode() for first in range(0, 5000, 500)])
        shown = scaled(test[:1000])
        error = F.mse_loss(model.decode(model.encode(shown).latent_dist.mode()).sample.clamp(-1, 1), shown)
    print(f"autoencoder: {10 * torch.log10(4 / error).item():.1f} dB on 1,000 test pictures", flush=True)
    model.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
    return model


def tokenizer(folder):
    """Each word is put together letter by letter, from its first on."""
    folder.mkdir(parents=True, exist_ok=True)
    # All bytes, as they are written in vocabularies: those that can be seen as they are, the others from U+0100 on.
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = (byte for byte in range(256) if byte not in seen)
    letters = [*map(chr, sorted(seen)), *(chr(256 + place) for place, _ in enumerate(hidden))]
    vocabulary, merges = [*letters, *(letter + "</w>" for letter in letters)], []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = f"{parts[0]} {parts[1]}"
            parts[:2] = [parts[0] + parts[1]]
            if pair not in merges:
                merges.append(pair)
                vocabulary.append(parts[0])
    # A beginning that two words share stands there once.
    vocabulary = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    made = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TOKENS)
    for name in CLASSES:
        count = len(made(f"a photo of a {name}")["input_ids"])
        assert count == 7, (name, count)
    return made


def main():
    cifar, out = Path(sys.argv[1]), Path(sys.argv[2])
    train = pictures(cifar, [f"data_batch_{number}.bin" for number in range(1, 6)])
    test = pictures(cifar, ["test_batch.bin"])
    vae = autoencoder(train, test)
    words = tokenizer(out / "tokenizer")
    torch.manual_seed(1)
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.eos_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=64,
    )
    print(f"{sum(values.numel() for values in unet.parameters())} parameters", flush=True)
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=words,
        unet=unet,
        scheduler=DDPMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(out)


if __name__ == "__main__":
    main()
