"""Whatever happens to a file, a reader gives valid data or one sentence, never a traceback."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hypergene.errors import HypergeneError
from hypergene.st import read_sample

places = st.floats(0, 1)
words = st.sampled_from(
    ["abc", "-1", "NaN", "nan", "", "1.5", "1e400", "inf", "-inf", "9" * 30, "0x10", "1_0", "é",
     '"', "'", "\t", "\n", "\r", ",", ";", " ", "\x00", "\u2028", "٣", "None", "True", "1e3"]
)  # fmt: skip


@st.composite
def damages(draw):
    """Draw a function bytes -> bytes."""
    kind = draw(st.sampled_from(["drop", "inject", "separator", "line", "byte", "cell", "nothing"]))
    at, word, byte = draw(places), draw(words), draw(st.integers(0, 255))
    length, other = draw(st.integers(1, 60)), draw(st.sampled_from([b",", b";", b" ", b"\t\t"]))
    once = draw(st.booleans())

    def damage(content: bytes) -> bytes:
        i = int(at * len(content))
        if kind == "drop":
            return content[:i] + content[i + length :]
        if kind == "inject":
            return content[:i] + word.encode() + content[i:]
        if kind == "separator":
            return content[:i] + content[i:].replace(b"\t", other, 1 if once else -1)
        if kind == "line":
            lines = content.split(b"\n")
            j = min(int(at * len(lines)), len(lines) - 1)
            return b"\n".join(lines[:j] + ([] if once else [lines[j]] * 2) + lines[j + 1 :])
        if kind == "byte":
            return content[:i] + bytes([byte]) + content[i + 1 :]
        if kind == "cell":
            cells = content.split(b"\t")
            cells[min(int(at * len(cells)), len(cells) - 1)] = word.encode()
            return b"\t".join(cells)
        return content

    return damage


@settings(max_examples=100, deadline=None)
@given(
    counts_damage=st.lists(damages(), max_size=2),
    spots_damage=st.lists(damages(), max_size=2),
    gzip_damage=st.one_of(st.none(), damages()),
)
def test_a_damaged_pair_gives_a_sentence_or_valid_data(
    counts_damage, spots_damage, gzip_damage, write_pair, counts_text, spots_text, assert_canonical
):
    counts, spots = counts_text.encode(), spots_text.encode()
    for damage in counts_damage:
        counts = damage(counts)
    for damage in spots_damage:
        spots = damage(spots)
    with tempfile.TemporaryDirectory() as folder:
        pair = write_pair(Path(folder), counts=counts, spots=spots)
        if gzip_damage is not None:
            pair.counts.write_bytes(gzip_damage(gzip.compress(counts, 1)))
        try:
            adata = read_sample(pair.sample)
        except HypergeneError as sentence:
            assert "\n" not in sentence.message
            assert str(folder) in sentence.message
        else:
            assert_canonical(adata)
