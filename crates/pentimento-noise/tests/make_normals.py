"""Writes `reference_values.txt`: what a stream must hold, computed without the crate.

Philox is written again from the paper (and checked against Random123's known answers), the transform of Box and
Muller is evaluated with mpmath to 50 digits. Run it as `python3 make_normals.py > reference_values.txt`; it needs
mpmath. Each line: kind, seed, purpose, id, step, index, value. Floating-point values are written as their bits.
"""

import struct
from fractions import Fraction

from mpmath import cos, log, mp, mpf, pi, sin, sqrt

mp.dps = 50
MASK = 2**32 - 1


def philox(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for i in range(10):
        product0 = 0xD2511F53 * c0
        product1 = 0xCD9E8D57 * c2
        round_key0 = (k0 + i * 0x9E3779B9) & MASK
        round_key1 = (k1 + i * 0xBB67AE85) & MASK
        c0, c1, c2, c3 = (
            (product1 >> 32) ^ c1 ^ round_key0,
            product1 & MASK,
            (product0 >> 32) ^ c3 ^ round_key1,
            product0 & MASK,
        )
    return [c0, c1, c2, c3]


assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox([MASK] * 4, [MASK] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
assert philox([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]) == [
    0xD16CFE09,
    0x94FDCCEB,
    0x5001E420,
    0x24126EA1,
]


def word(address, index):
    seed, purpose, identity, step = address
    block = philox([index // 4, step, identity, purpose], [seed & MASK, seed >> 32])
    return block[index % 4]


def normal(address, index):
    def inside(w):
        return (mpf(w) + mpf(1) / 2) / 2**32

    first = index - index % 2
    radius = sqrt(-2 * log(inside(word(address, first))))
    angle = 2 * pi * inside(word(address, first + 1))
    return radius * (cos(angle) if index % 2 == 0 else sin(angle))


def integer(address, index):
    return word(address, 2 * index) + 2**32 * word(address, 2 * index + 1)


def bits64(value):
    return struct.unpack(">Q", struct.pack(">d", float(value)))[0]


def bits32(value):
    return struct.unpack(">I", struct.pack(">f", float(value)))[0]


ADDRESSES = [
    (0, 11, 0, 0),
    (20261122, 6, 3, 999),
    (0xFEDCBA9876543210, 4, 4294967295, 7),
    (1 << 32, 1, 5, 4294967295),
]
INDICES = list(range(9)) + [49_999, 2**32 + 1, 2**34 - 1]
BOUNDS = [7, 1000, 2**32, 2**64 - 1]

for address in ADDRESSES:
    head = " ".join(str(part) for part in address)
    for index in INDICES:
        print("word", head, index, word(address, index))
        print("normal64", head, index, bits64(normal(address, index)))
        print("normal32", head, index, bits32(normal(address, index)))
    for index in range(9):
        fraction = Fraction(integer(address, index), 2**64)
        print("uniform64", head, index, bits64(mpf(int(fraction * 2**53)) / 2**53))
        print("uniform32", head, index, bits32(mpf(int(fraction * 2**24)) / 2**24))
        bound = BOUNDS[index % len(BOUNDS)]
        print("below", head, index, bound, int(fraction * bound))
