"""Whether an ONNX file holds all its weights itself, read from its bytes: the onnx package is not needed to detect.

ONNX Runtime follows a tensor's `external_data` to other files, which no SHA-256 of the model would cover. The numbers
of the fields are those of onnx.proto3 (github.com/onnx/onnx), the encoding is that of Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["has_external_data"]

VARINT, FIXED64, BYTES, START, END, FIXED32 = range(6)
"""The wire types of Protocol Buffers."""

TENSOR = "TensorProto"
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of TensorProto; location 0 is the file itself

FIELDS: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        **{5: TENSOR, 6: "GraphProto", 10: TENSOR, 11: "GraphProto"},
        **{22: "SparseTensorProto", 23: "SparseTensorProto"},
    },
    "SparseTensorProto": {1: TENSOR, 2: TENSOR},
}
"""The fields of each message in which a tensor may lie, at whatever depth."""


def has_external_data(content: bytes) -> bool:
    """Whether any tensor of the ONNX model lies in another file, or says so. ValueError for bytes that are no message.

    Attributes, subgraphs, functions, sparse tensors and training graphs are looked into.
    """
    waiting = [("ModelProto", 0, len(content))]
    while waiting:
        kind, start, end = waiting.pop()
        inner = FIELDS.get(kind, {})
        for number, wire, first, last in _fields(content, start, end):
            if kind == TENSOR:
                named = number == EXTERNAL_DATA and wire == BYTES
                if named or (number == DATA_LOCATION and wire == VARINT and content[first:last].strip(b"\x80\0")):
                    return True
            elif wire == BYTES and number in inner:
                waiting.append((inner[number], first, last))
    return False


def _fields(content: bytes, place: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, first and last+1 byte of the value of each field of a message, those of groups too."""
    groups: list[int] = []
    while place < end:
        key, place = _varint(content, place, end)
        number, wire = (key & 0xFFFFFFFF) >> 3, key & 7  # as Protocol Buffers cuts it
        first = place
        if wire == VARINT:
            _, place = _varint(content, place, end)
        elif wire == BYTES:
            length, first = _varint(content, place, end)
            place = first + length
        elif wire in (FIXED64, FIXED32):
            place += 8 if wire == FIXED64 else 4
        elif wire == START:
            groups.append(number)
        elif wire != END or not groups or groups.pop() != number:
            raise ValueError(f"byte {place} is no field of a message")
        if place > end:
            raise ValueError(f"the message ends in byte {end}, and its field in byte {place}")
        if not groups and wire != END:
            yield number, wire, first, place
    if groups:
        raise ValueError(f"a group does not end in byte {end}")


def _varint(content: bytes, place: int, end: int) -> tuple[int, int]:
    """The number at this place, and the place behind it."""
    value = shift = 0
    while place < end and shift < 70:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError(f"a number does not end in byte {place}")
