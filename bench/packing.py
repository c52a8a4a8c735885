"""Packed weights from logical codes, by the description that `compile --emit meta` gives of their storage; and back.

The same rule as compiler/src/packed/storage.rs, in operations that numpy and PyTorch share, so that a GPU packs what it is to multiply with:

    code (row, k) of a tile belongs to thread t, register r, where (row, k) = XOR of the threads' bits' parts + the register's part;
    bit b of register r's code is bit `group[r % n][b]` of group r / n of the thread's words;
    words lie four, two and one at a time, of all threads side by side, chunk after chunk.
"""

import math


def bits(kind):
    return 1 + int(kind[1]) + int(kind[3]) if kind[0] == "e" else int(kind[1])


def values(kind):
    """What each code of a type means: integers, two's complement, or floats without infinities."""
    n = bits(kind)
    if kind[0] == "u":
        return [float(c) for c in range(1 << n)]
    if kind[0] == "i":
        return [float(c - (1 << n) if c >> (n - 1) else c) for c in range(1 << n)]
    mantissa, bias = int(kind[3]), (1 << (int(kind[1]) - 1)) - 1
    decoded = []
    for code in range(1 << n):
        sign, exponent, fraction = code >> (n - 1), code >> mantissa & (1 << int(kind[1])) - 1, code & (1 << mantissa) - 1
        size = math.ldexp(fraction, 1 - bias - mantissa) if exponent == 0 else math.ldexp((1 << mantissa) + fraction, exponent - bias - mantissa)
        decoded.append(-size if sign else size)
    return decoded


def element(storage):
    """The element of the tile, row by row, that each register of each thread has: a list of lists."""
    depth = storage["tile"][1]
    row, k = storage["row"], storage["k"]

    def part(axis, thread):
        value = 0
        for bit, c in enumerate(axis["thread"]):
            if thread >> bit & 1:
                value ^= c
        return value

    places = []
    for t in range(storage["threads"]):
        i, j = part(row, t), part(k, t)
        places.append([(i + di) * depth + j + dj for di, dj in zip(row["register"], k["register"])])
    return places


def runs(storage):
    """For each register: (word, lowest bit of the code, lowest bit in the word, bits), bits that move together being one run."""
    n, all_runs = len(storage["group"]), []
    for r in range(len(storage["row"]["register"])):
        first, found = r // n * storage["group_words"], []
        for b, bit in enumerate(storage["group"][r % n]):
            word, to = first + bit // 32, bit % 32
            if found and found[-1][0] == word and to - found[-1][2] == b - found[-1][1]:
                found[-1][3] += 1
            else:
                found.append([word, b, to, 1])
        all_runs.append(found)
    return all_runs


def chunks(words):
    """The chunks of a thread's words: the first word and how many."""
    first, found = 0, []
    while first < words:
        n = next(n for n in (4, 2, 1) if first + n <= words)
        found.append((first, n))
        first += n
    return found


def pack(xp, codes, storage, index):
    """Codes [rows, depth] of 64-bit integers as 32-bit words in the order of memory, [tiles, words of a tile], each below 2^32.

    `xp` is numpy or torch; `index` makes an index array of a list. Rows and depth are whole tiles.
    """
    (tr, td), threads = storage["tile"], storage["threads"]
    rows, depth = codes.shape
    assert rows % tr == 0 and depth % td == 0, "ragged tiles are for `tilewright pack`"
    tiles = xp.swapaxes(codes.reshape(rows // tr, tr, depth // td, td), 1, 2).reshape(-1, tr * td)
    below = (1 << bits(storage["type"]) - 1) - 1
    tiles = (tiles & ~below | tiles + storage.get("turn", 0) & below) ^ storage["flip"]
    places, moves = element(storage), runs(storage)
    words = [None] * storage["words"]
    for r, moved in enumerate(moves):
        code = tiles[:, index([p[r] for p in places])]
        for word, low, to, width in moved:
            piece = (code >> low & (1 << width) - 1) << to
            words[word] = piece if words[word] is None else words[word] | piece
    parts = [xp.stack(words[first : first + n], -1).reshape(-1, threads * n) for first, n in chunks(len(words))]
    return xp.concatenate(parts, -1)
