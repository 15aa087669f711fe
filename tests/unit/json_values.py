"""Every kind of JSON value that the vendors' SDKs take, as text; and what two of them have in common."""

import json
import math
from typing import Any

import httpx
from hypothesis import strategies as st

BIG = st.integers(-(2**300), 2**300) | st.sampled_from(
    [
        2**63 - 1,
        2**63,
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**18,
        10**19,
        115792089237316195423570985008687907853,
    ]
)
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)  # half surrogate pairs and control characters, too
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | BIG | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
DEEPEST = 600
"""An SDK's parser goes about as deep as Python's stack allows, which tests share with their caller."""


@st.composite
def json_texts(draw: Any) -> str:
    """A JSON text: a value, perhaps nested deep, perhaps with a number that is too large for a float."""
    text = json.dumps(
        draw(VALUES), ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([None, (",", ":")]))
    )
    if draw(st.integers(0, 9)) == 0:
        text = f"[{text}, {draw(st.sampled_from(['1e400', '-1e400', '1E5', '-0', '-0.0', '0.1e-400']))}]"
    levels = draw(st.sampled_from([0, 0, 0, 1, 30, 254, 255, 256, DEEPEST]))
    return "[" * levels + text + "]" * levels if draw(st.booleans()) else '{"a":' * levels + text + "}" * levels


def encoded(text: str) -> bytes:
    """A text as it comes over the wire; half surrogate pairs as some servers write them."""
    return text.encode(errors="surrogatepass")


def sdk(text: str) -> Any:
    """What the vendors' SDKs make of an answer with this body: they all ask their HTTP library."""
    return httpx.Response(200, content=encoded(text)).json()


def same(left: object, right: object) -> bool:
    """Whether two JSON values are equal, types and all, however deep they are; `NaN` is like `NaN`."""
    rest = [(left, right)]
    while rest:
        one, other = rest.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, dict) and isinstance(other, dict):
            if list(one) != list(other):
                return False
            rest += [(one[name], other[name]) for name in one]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            rest += zip(one, other, strict=True)
        elif one != other and not (isinstance(one, float) and math.isnan(one) and math.isnan(float(str(other)))):
            return False
    return True
