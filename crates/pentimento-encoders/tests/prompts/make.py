"""Token ids that transformers gives for odd prompts, by tokenizers whose files differ.

    python make.py ../../../../tests/goldens_latent/sd_conv/tokenizer > prompts.json

Needs transformers 5 (5.24.0 wrote the file). Each case has the files that it puts over those of the folder (null: left out),
and for each prompt the ids between start and end, both included.
"""
import json
import shutil
import sys
import tempfile
from pathlib import Path

from transformers import CLIPTokenizer

PROMPTS = [
    "", " ", "a", "The CAT and the DOG", "it's they're I'll I'd we've don't 't 'S ''s dogs' 'tis",
    "rock'n'roll o'clock l'art", "a,b;c... !!! !? !", "!", "!!!", "a!b", "thing! thing !", "1889 12,5 \u0661\u0662 \u2167 \u00bd \u00b2",
    "<|endoftext|>", "<|ENDOFTEXT|>", "x<|startoftext|>y<|endoftext|>!", "!<|endoftext|>", "<|endoftext|>!", "<|EndOfText|>!!a", "<|end", "|>",
    "caf\u00e9 cafe\u0301 CAFE\u0301 \u00c5ngstr\u00f6m \u212b \u1e9b\u0323", "\u0130stanbul I\u0131 \u03a3\u03a3 \u039f\u0394\u039f\u03a3 \u1e9e \ufb01n \uff21\uff11",
    "\u6d6e\u4e16\u7d75 \u00e9\u6f22a1\u5b57", "\U0001f3a8\U0001f468\u200d\U0001f469 \u2764\ufe0f", "a\u00a0b\u2003c\u3000d\u200be\ufefff", "tab\tnew\nline\r\nend\x0b\x0c\x85x",
    "\x00\x01 a\x7fb", "e\u0301\u0327 \u0e01\u0e33 \u0939\u093f\u0928\u094d\u0926\u0940", "under_score hy-phen semi;colon a/b C++ #1 @x $5 50%",
    "thththth ininin ananan rerererere", "x" * 50, "the " * 90, "<sks> a <sks>dog <SKS>", "<sks-2> <sks-2", "<|pad|> a<|PAD|>",
]

SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


def as_object(content, normalized):
    return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False}


def config(**more):
    return {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"} | more


OBJECTS = {key: as_object(content, True) for key, content in SPECIAL.items()}
CASES = {
    "whole": {},
    "two files": {"tokenizer.json": None},
    "padded with !": {"tokenizer.json": None, "special_tokens_map.json": SPECIAL | {"pad_token": "!"},
                      "tokenizer_config.json": config(**SPECIAL, pad_token="<|endoftext|>")},
    "as published": {"tokenizer.json": None, "special_tokens_map.json": OBJECTS | {"pad_token": "<|endoftext|>"},
                     "tokenizer_config.json": config(**{key: {"__type": "AddedToken"} | value for key, value in OBJECTS.items()},
                                                     pad_token="<|endoftext|>")},
    "added in the configuration": {
        "tokenizer.json": None, "special_tokens_map.json": SPECIAL | {"pad_token": "<|endoftext|>"},
        "tokenizer_config.json": config(**SPECIAL, pad_token="<|endoftext|>", added_tokens_decoder={
            "573": as_object("<|startoftext|>", False) | {"special": True}, "574": as_object("<|endoftext|>", True) | {"special": True},
            "575": as_object("<sks>", False) | {"special": False}, "576": as_object("<sks-2>", True) | {"special": False}})},
}

stock = Path(sys.argv[1])
cases = []
for name, files in CASES.items():
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(stock, folder, dirs_exist_ok=True)
        for file, content in files.items():
            path = Path(folder) / file
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(json.dumps(content))
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        ids = [tokenizer(prompt).input_ids for prompt in PROMPTS]
        cases.append({"name": name, "files": files, "padding": tokenizer.pad_token_id, "ids": ids})
lines = ",\n".join(json.dumps(case) for case in cases)
print('{"prompts": ' + json.dumps(PROMPTS) + ',\n"cases": [\n' + lines + "\n]}")
