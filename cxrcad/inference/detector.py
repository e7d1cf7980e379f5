"""A packaged model at work on ONNX Runtime: a radiograph goes in, every candidate comes out."""

from __future__ import annotations

import contextlib
import ctypes
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import ModelError, ModelIdentity, Radiograph, Result
from cxrcad.inference.card import FORMER_TASKS
from cxrcad.inference.examining import Examined, Inferred, check_numbers
from cxrcad.inference.lungs import lung_fields
from cxrcad.inference.model import Bundle
from cxrcad.inference.reading import Prepared, prepare

__all__ = ["BATCH_ON_CUDA", "CPU", "CUDA", "Detector", "driver_library", "open_session", "preload_cuda"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
BATCH_ON_CUDA = 8
"""Images at once that a GPU is given; a CPU gains nothing by more than one."""

OPTIONS = {CUDA: {"cudnn_conv_algo_search": "HEURISTIC"}}
"""What providers are told. The lungs' box gives each radiograph another shape, and by default cuDNN tries every
algorithm for every new shape.
"""

SILENT = 4
"""ONNX Runtime's severity "fatal": what goes wrong comes back as an exception, in our words."""

SMALLER = "give a smaller --batch"


@dataclass(frozen=True, eq=False)
class Detector:
    """A model loaded and ready. `provider` is what ONNX Runtime says it runs on, not what was asked for.

    `outputs` are the graph's outputs, one for each of the bundle's tasks. `batch` is how many images at once it is
    worth giving it.
    """

    bundle: Bundle
    provider: str
    session: Any
    outputs: tuple[str, ...]
    batch: int

    @classmethod
    def open(
        cls, bundle: Bundle, device: str = "auto", threads: int | None = None, batch: int | None = None
    ) -> Detector:
        """The model of `bundle` on `device`.

        Args:
            bundle: the packaged model.
            device: `cpu`; `cuda`, which fails where CUDA is not usable; `auto`, CUDA where it is and else the CPU.
            threads: CPU threads; None leaves them to ONNX Runtime.
            batch: images at once; None for 8 with CUDA and 1 on a CPU. A model that takes one at a time stays at 1.

        Raises:
            ModelError: ONNX Runtime or CUDA is missing, or the ONNX file is not one of ours.
        """
        providers = _providers(device, bundle.name)
        try:
            session = open_session(bundle.onnx_path, providers, threads)
        except Exception as error:
            if device == "auto" and CUDA in providers:
                return cls.open(bundle, "cpu", threads, batch)
            reason = f"ONNX Runtime cannot load it ({_first_line(error)})"
            raise ModelError(f"{bundle.onnx_path}: {reason}; {_remedy(device)}") from error
        provider = str(session.get_providers()[0])
        if device == "cuda" and provider != CUDA:
            raise ModelError(f"{bundle.name}: asked for CUDA, but ONNX Runtime runs on {provider}; {_remedy(device)}")
        one_at_a_time = isinstance(session.get_inputs()[0].shape[0], int)  # else it has a name
        batch = 1 if one_at_a_time else batch or (BATCH_ON_CUDA if provider == CUDA else 1)
        return cls(bundle, provider, session, _outputs(session, bundle), batch)

    @property
    def identity(self) -> ModelIdentity:
        """Name, SHA-256, threshold and provider, as results state them."""
        return ModelIdentity(self.bundle.name, self.bundle.sha256, self.bundle.threshold, self.provider)

    def probabilities(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The (rows, columns) probability map, 0-1, of each task for one grid image of that shape, float32 0-1.

        Raises ModelError for a size that is no multiple of the model's, and where ONNX Runtime fails.
        """
        (maps,) = self.run([image])
        check_numbers(maps, self.bundle.name)
        return maps

    def run(self, images: Sequence[NDArray[np.float32]]) -> list[dict[str, NDArray[np.float32]]]:
        """`probabilities` of several grid images of one shape, from one run; that they are numbers is not checked."""
        multiple, shape = self.bundle.multiple, images[0].shape
        if len(shape) != 2 or any(length % multiple for length in shape) or 0 in shape:
            found = " x ".join(map(str, shape))
            raise ModelError(f"{self.bundle.name}: takes a grid in multiples of {multiple}, not {found}; use to_grid")
        tensor = np.stack(images, dtype=np.float32)[:, None]
        try:
            outputs = self.session.run(self.outputs, {"image": tensor})
        except Exception as error:
            rows, cols = shape
            one = len(images) == 1
            of, remedy = ("an image", "use --device cpu or free memory") if one else (f"{len(images)} images", SMALLER)
            raise ModelError(
                f"{self.bundle.name}: ONNX Runtime failed on {of} of {rows} x {cols} ({_first_line(error)}); {remedy}"
            ) from error
        wanted = (len(images), *shape)
        for task, output in zip(self.bundle.tasks, outputs, strict=True):
            if not isinstance(output, np.ndarray) or output.shape != wanted or output.dtype.kind != "f":
                found = f"{output.shape} of {output.dtype}" if isinstance(output, np.ndarray) else type(output).__name__
                raise ModelError(
                    f"{self.bundle.name}: its {task} map of an image {shape} is {found}, where {wanted} of numbers"
                    " is needed; export the model again"
                )
        return [dict(zip(self.bundle.tasks, maps, strict=True)) for maps in zip(*outputs, strict=True)]

    def detect(self, radiograph: Radiograph | Prepared) -> Result:
        """Every candidate in a radiograph, best first, the threshold not applied (`findings.select` does).

        `seconds` has infer and find; read is the resampling to the model's grid, and the file's where it is prepared.
        Raises ModelError.
        """
        return self.examine(radiograph).result

    def lungs(self, examined: Examined) -> NDArray[np.bool_]:
        """The lung fields in a radiograph's own pixels, (rows, cols), none where none are found.

        Raises ModelError for a model without a lung task.
        """
        from PIL import Image

        if "lung" not in self.bundle.tasks:
            raise ModelError(f"{self.bundle.name}: has no lung task; name a model of --tasks multi with --model")
        probabilities = examined.geometry.as_stored(examined.maps["lung"])
        fields = lung_fields(probabilities, self.bundle.find.lung_threshold)
        small = Image.fromarray(fields.astype(np.uint8) * 255)
        whole = small.resize((examined.geometry.cols, examined.geometry.rows), Image.Resampling.BILINEAR)
        return np.asarray(whole) >= 128

    def examine(self, radiograph: Radiograph | Prepared) -> Examined:
        """What `detect` gives, with the probability maps and the geometry that it rests on. Raises ModelError."""
        given = radiograph
        if isinstance(given, Radiograph):
            given = prepare(given, self.bundle.grid, self.bundle.multiple)
        inferred = self.infer(given)
        return inferred.examined(inferred.result())

    def infer(self, given: Prepared) -> Inferred:
        """What the network gives of one image. Raises ModelError."""
        start = time.perf_counter()
        (maps,) = self.run([given.image])
        return Inferred(self.bundle, given, maps, time.perf_counter() - start)


def _providers(device: str, name: str) -> list[str]:
    """The providers to ask ONNX Runtime for. Raises ModelError where `device` cannot be had."""
    if device not in ("auto", "cpu", "cuda"):
        raise ModelError(f"{name}: device is {device!r}; choose from auto, cpu, cuda")
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"{name}: no ONNX Runtime here ({error}); install it with pip install onnxruntime") from None
    built_in = CUDA in onnxruntime.get_available_providers()
    if device == "cuda" and not built_in:
        raise ModelError(f"{name}: this ONNX Runtime was built without CUDA; {_remedy(device)}")
    if device == "cuda" and driver_library() is None:
        raise ModelError(f"{name}: no NVIDIA driver (libcuda.so.1) can be loaded here; {_remedy(device)}")
    if device == "cpu" or not built_in or driver_library() is None:
        return [CPU]
    preload_cuda()
    return [CUDA, CPU]


def preload_cuda() -> None:
    """Load CUDA's and cuDNN's libraries from where pip puts them, as far as they are there."""
    import onnxruntime

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        # prints what it misses; whether CUDA works is read back from the session
        onnxruntime.preload_dlls()


def open_session(network: Path | bytes, providers: list[str], threads: int | None) -> Any:
    """An ONNX Runtime session of a file or a file's content that keeps quiet and falls back to nothing by itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    content = network if isinstance(network, bytes) else str(network)
    told = [(one, OPTIONS.get(one, {})) for one in providers]
    with _quiet_default_logger(CUDA in providers):
        return onnxruntime.InferenceSession(content, options, providers=told, enable_fallback=0)


@contextlib.contextmanager
def _quiet_default_logger(quiet: bool) -> Iterator[None]:
    """ONNX Runtime's own logger silenced for a while: it writes to stderr when CUDA's libraries are missing."""
    import onnxruntime

    if quiet:
        onnxruntime.set_default_logger_severity(SILENT)
    try:
        yield
    finally:
        if quiet:
            onnxruntime.set_default_logger_severity(2)  # its default, "warning"; there is no way to ask


def driver_library() -> Any:
    """NVIDIA's driver library, loaded; None where there is none, and CUDA is not worth asking for."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        with contextlib.suppress(OSError):
            return ctypes.CDLL(library)
    return None


def _outputs(session: Any, bundle: Bundle) -> tuple[str, ...]:
    """The graph's output for each of the card's tasks. Raises ModelError unless it has them all and takes `image`."""
    inputs = [item.name for item in session.get_inputs()]
    outputs = [item.name for item in session.get_outputs()]
    by_task = {FORMER_TASKS.get(name, name): name for name in outputs}
    if inputs != ["image"] or not by_task.keys() >= set(bundle.tasks):
        raise ModelError(
            f"{bundle.onnx_path}: takes {', '.join(inputs)} and gives {', '.join(outputs)}, where its card says image"
            f" and {', '.join(bundle.tasks)}; export the model again"
        )
    return tuple(by_task[task] for task in bundle.tasks)


def _remedy(device: str) -> str:
    if device == "cuda":
        return "use --device cpu, or install onnxruntime-gpu[cuda,cudnn] and an NVIDIA driver"
    return "copy the whole folder again or export the model again"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
