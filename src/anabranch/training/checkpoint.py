"""The file from which a fit goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anabranch.atomic import replacing
from anabranch.checks import positive
from anabranch.fingerprint import fingerprint
from anabranch.storage import of_system
from anabranch.training.identity import Identity, differences
from anabranch.training.packing import pack, unpack
from anabranch.version import __version__

_FORMAT = 1
_ADVICE = "remove it to begin anew"
_HEADER, _FINGERPRINT = "anabranch checkpoint", "fingerprint"


class Checkpoint:
    """The file of a fit: where it has come to, and which fit it is.

    A safetensors file: all tensors of the state, and in its header the rest as JSON, with fingerprints of both. Nothing in
    it is ever unpickled. It appears whole or not at all, so that a kill at any moment leaves the last one.

    Args:
        path: of the file. It is read, if it is there.
        seconds: between two times that the file is written.

    Attributes:
        state: what was written last; None where there is no file.
        finished: whether the fit had come to its end.
        seed: of the fit in the file.

    Raises:
        ValueError: a file that is torn, or no checkpoint; the message says which.
        OSError: the folder is not there, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], seconds: float) -> None:
        self.path = Path(path)
        self.seconds = 0.0 if seconds == 0 else positive("checkpoint_seconds", seconds)
        self.state: Any = None
        self.finished = False
        self.seed: int | None = None
        self._stored: Identity | None = None
        self._identity: Identity = {}
        self._written = 0.0
        if self.path.is_dir():
            raise ValueError(f"checkpoint: expected a file, but {self.path} is a folder")
        if self.path.exists():
            header, self.state = _read(self.path)
            self.finished, self._stored = header["finished"], header["fit"]
            self.seed = self._stored["settings"]["seed"]

    def belong_to(self, identity: Identity) -> None:
        """Be the file of this fit.

        Raises:
            ValueError: the file is of another fit; the message says what differs.
        """
        # as a file gives it back
        self._identity = json.loads(json.dumps(identity))
        said = [] if self._stored is None else differences(self._stored, self._identity)
        if said:
            raise ValueError(
                f"checkpoint: expected the file of this fit, but {self.path} is of another one: {'; '.join(said)}; "
                "name another file, or remove it to begin anew"
            )

    @contextmanager
    def taken_up(self) -> Iterator[None]:
        """While a fit takes up the state.

        Raises:
            ValueError: the state is none of this fit.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"checkpoint: expected the state of this fit in {self.path}, which holds another or is damaged ({said}); "
                f"{_ADVICE}"
            ) from error

    def due(self, seconds: float) -> bool:
        """Whether it is time to write, so many seconds after the fit began."""
        return seconds - self._written >= self.seconds

    def write(self, state: Any, seconds: float, finished: bool = False) -> None:
        """Write where the fit has come to, in the place of what the file held."""
        self._written = seconds
        plain, tensors = pack(state)
        # a copy each: safetensors refuses tensors that share memory, and wants them contiguous
        copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        header = {
            "format": _FORMAT,
            "version": __version__,
            "finished": finished,
            "fit": self._identity,
            "state": plain,
            "tensors": fingerprint(copies),
        }
        _write(self.path, json.dumps(header, allow_nan=False), copies)


def _check_header(header: dict[str, Any]) -> None:
    """Raise ValueError or KeyError unless it says whether the fit was finished, and which it is."""
    fit = header["fit"]
    parts = [header[name] if name == "finished" else fit[name] for name in ("finished", "density", "rows", "settings")]
    seed = fit["settings"]["seed"]
    if [type(part) for part in parts] != [bool, dict, dict, dict] or type(seed) is not int:
        raise ValueError("no whole header")
    if set(fit["density"]) != {"description", "weights"}:
        raise ValueError("no density")


def _write(path: Path, text: str, tensors: dict[str, Tensor]) -> None:
    from safetensors import SafetensorError  # noqa: PLC0415 (only needed here)
    from safetensors.torch import save_file  # noqa: PLC0415

    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={_HEADER: text, _FINGERPRINT: fingerprint({}, text)})
        except SafetensorError as error:
            raise of_system(error, path) from error


def _read(path: Path) -> tuple[dict[str, Any], Any]:
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 (only needed here)

    try:
        with safe_open(path, framework="pt") as opened:
            about = opened.metadata() or {}
            text = about.get(_HEADER)
            tensors = {} if text is None else {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"checkpoint: {path} is torn, or no checkpoint ({error}); {_ADVICE}") from error
    if text is None:
        raise ValueError(
            f"checkpoint: expected the file of a fit, but {path} is another file; name one that is not there yet"
        )
    try:
        header = json.loads(text)
        number = header["format"]
        if number == _FORMAT and (about.get(_FINGERPRINT), header["tensors"]) == (
            fingerprint({}, text),
            fingerprint(tensors),
        ):
            # in memory of their own, aligned as torch aligns it: sums then come out the same
            state = unpack(header["state"], {name: value.clone() for name, value in tensors.items()})
            if not isinstance(state, dict):
                raise TypeError("no state")
            _check_header(header)
            return header, state
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"checkpoint: the header of {path} is damaged; {_ADVICE}") from error
    if number != _FORMAT:
        raise ValueError(
            f"checkpoint: {path} was written by anabranch {header.get('version')} in format {number}, and this version, "
            f"{__version__}, reads format {_FORMAT}; go on with that version, or {_ADVICE}"
        )
    raise ValueError(f"checkpoint: {path} is not what was written; it is damaged; {_ADVICE}")
