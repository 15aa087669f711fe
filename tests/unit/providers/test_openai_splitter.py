from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from batch_bridge.providers._shared.results.line_splitter import LineSplitter


def split(chunks):
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.end()


def expected(data):
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=12))
def test_any_chunking_gives_the_same_lines(noise, cuts):
    data = noise.replace(b"\x00", b"\n")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in pairwise(edges)]
    assert split(chunks) == expected(data)


def test_only_a_line_feed_ends_a_line():
    assert split(["a\u2028b\x85c\r\nd".encode()]) == ["a\u2028b\x85c\r".encode(), b"d"]


def test_a_line_of_megabytes_arrives_in_many_pieces():
    piece = b"x" * 65_536
    assert split([piece] * 64 + [b"\n", b"y"]) == [piece * 64, b"y"]


def test_it_can_be_read_one_byte_at_a_time():
    assert split([bytes([byte]) for byte in b'{"a":1}\n\n{"b":2}\n']) == [b'{"a":1}', b"", b'{"b":2}']
