"""Weights outside of an ONNX file, wherever in the graph they are spoken of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrcad.core import ModelError
from cxrcad.inference.model import Bundle, load_bundle, write_card
from cxrcad.inference.onnxfile import has_external_data

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def external(named: bool = True, located: bool = True) -> Any:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[2], name="far")
    if named:
        tensor.external_data.add(key="location", value="weights.bin")
    if located:
        tensor.data_location = TensorProto.EXTERNAL
    return tensor


def plain() -> Any:
    return numpy_helper.from_array(np.arange(300, dtype=np.float32), "near")


def of_initializer(tensor: Any) -> Any:
    return helper.make_model(helper.make_graph([], "g", [], [], [plain(), tensor, plain()]))


def of_constant(tensor: Any) -> Any:
    node = helper.make_node("Constant", [], ["x"], value=tensor)
    return helper.make_model(helper.make_graph([node], "g", [], []))


def of_tensors(tensor: Any) -> Any:
    node = helper.make_node("Own", [], ["x"], values=[plain(), tensor])
    return helper.make_model(helper.make_graph([node], "g", [], []))


def of_subgraph(tensor: Any) -> Any:
    inner = helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "inner", [], [])
    middle = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=inner)], "middle", [], [])
    node = helper.make_node("Own", ["c"], ["x"], branches=[helper.make_graph([], "e", [], []), middle])
    return helper.make_model(helper.make_graph([node], "g", [], []))


def of_function(tensor: Any) -> Any:
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    function = helper.make_function("own", "F", [], ["y"], [node], [helper.make_opsetid("", 17)])
    return helper.make_model(helper.make_graph([], "g", [], []), functions=[function])


def of_functions_default(tensor: Any) -> Any:
    default = helper.make_attribute("value", tensor)
    function = helper.make_function("own", "F", [], ["y"], [], [helper.make_opsetid("", 17)], [], [default])
    return helper.make_model(helper.make_graph([], "g", [], []), functions=[function])


def of_sparse(tensor: Any) -> Any:
    sparse = onnx.SparseTensorProto(values=plain(), indices=tensor, dims=[9])
    return helper.make_model(helper.make_graph([], "g", [], [], sparse_initializer=[sparse]))


def of_sparse_attribute(tensor: Any) -> Any:
    node = helper.make_node("Constant", [], ["x"], sparse_value=onnx.SparseTensorProto(values=tensor, dims=[9]))
    return helper.make_model(helper.make_graph([node], "g", [], []))


def of_training(tensor: Any) -> Any:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    model.training_info.add().algorithm.initializer.append(tensor)
    return model


PLACES = [of_initializer, of_constant, of_tensors, of_subgraph, of_function, of_functions_default, of_sparse]
PLACES += [of_sparse_attribute, of_training]


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_seen_wherever_they_are(place: Callable[[Any], Any]) -> None:
    assert has_external_data(place(external()).SerializeToString())
    assert has_external_data(place(external(named=False)).SerializeToString())
    assert has_external_data(place(external(located=False)).SerializeToString())
    assert not has_external_data(place(plain()).SerializeToString())
    assert not has_external_data(place(external(named=False, located=False)).SerializeToString())


def test_what_protocol_buffers_read_alike_is_seen_alike() -> None:
    """A graph in two parts, a key with bits that are cut, an unknown group, a location spelt in two bytes."""
    content = of_initializer(external()).SerializeToString()
    graph = of_initializer(external(named=False)).graph.SerializeToString()
    long_key = bytes([0xBA, 0x80, 0x80, 0x80, 0x10]) + bytes([len(graph) & 127 | 128, len(graph) >> 7]) + graph
    group = bytes([0x9B, 0x06, 0x08, 0x01, 0x9C, 0x06])  # field 99 with field 1 in it
    assert has_external_data(of_initializer(plain()).SerializeToString() + content)
    assert has_external_data(long_key)
    assert has_external_data(group + content)
    assert not has_external_data(group)
    tensor = bytes([0x70, 0x81, 0x00])
    assert has_external_data(bytes([0x3A, len(tensor) + 2, 0x2A, len(tensor)]) + tensor)


@pytest.mark.parametrize(
    "content", [b"\x3a", b"\x3a\x05ab", b"\x0c", b"\x0b\x08\x01", b"\x07", 11 * b"\xff", b"\x09ab"]
)
def test_bytes_that_are_no_message_are_a_fault(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"byte \d+"):
        has_external_data(content)


def test_a_deep_graph_is_read() -> None:
    content = b""
    for _ in range(5000):
        attribute = b"\x32" + _length(content) + content
        node = b"\x2a" + _length(attribute) + attribute
        content = b"\x0a" + _length(node) + node
    assert not has_external_data(b"\x3a" + _length(content) + content)


def _length(content: bytes) -> bytes:
    number, spelt = len(content), b""
    while number > 127:
        spelt, number = spelt + bytes([number & 127 | 128]), number >> 7
    return spelt + bytes([number])


def test_a_model_with_weights_in_another_file_is_refused_even_in_its_own_folder(tiny: Bundle) -> None:
    model = onnx.load(tiny.onnx_path)
    onnx.save(model, tiny.onnx_path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    write_card(tiny.folder, {key: value for key, value in tiny.card.items() if key != "files"})
    assert (tiny.folder / "weights.bin").is_file()
    sentence = (
        r"model\.onnx: has weights in another file \(external data\), which the SHA-256 .*; export the model again"
    )
    with pytest.raises(ModelError, match=sentence):
        load_bundle(tiny.folder)


def test_a_file_that_is_no_onnx_is_refused(tiny: Bundle, tmp_path: Path) -> None:
    tiny.onnx_path.write_bytes(b"\x3a\x05ab")
    write_card(tiny.folder, dict(tiny.card))
    with pytest.raises(
        ModelError, match=r"model\.onnx: no whole ONNX file \(the message ends in byte 4, .*copy the whole"
    ):
        load_bundle(tiny.folder)
