"""DL4J's file of a network: a zip with its configuration, parameters and the state of its updaters."""

from __future__ import annotations

import errno
import json
import os
import secrets
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, Self

import numpy as np

from ndarena.binary import BinaryReader, UnknownTypeError, array_bytes
from ndarena.data import Normalizer
from ndarena.errors import ConfigurationError
from ndarena.nn.words import refuse

if TYPE_CHECKING:
    from ndarena.nn.layer import Flat

__all__ = ["Archive", "Stored", "load_model", "load_normalizer", "read_archive"]

CONFIGURATION = "configuration.json"
PARAMS = "coefficients.bin"
STATE = "updaterState.bin"
NORMALIZER = "normalizer.bin"
NO_PARAMS = "noParams.marker"  # beside an empty entry of parameters
Name = str | os.PathLike[str]


class Archive(NamedTuple):
    """What such a file holds."""

    configuration: str
    params: Flat
    state: Flat | None
    normalizer: bytes | None


def read_archive(path: Name) -> Archive:
    """Return what a file holds; one that is damaged or no such file is a `ConfigurationError`."""
    _check_name(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in _wanted(path, archive)}
    except (ConfigurationError, MemoryError):
        raise
    except OSError as error:
        if not os.path.exists(path):  # noqa: PTH110 - a name of any kind
            raise
        _refuse(path, f"cannot be read: {error}")
    except Exception as error:  # noqa: BLE001 - each way of packing has errors of its own
        _refuse(path, f"is no whole zip: {error}")
    state = entries.get(STATE)
    return Archive(
        entries[CONFIGURATION].decode("utf-8", "replace"),
        np.empty(0) if NO_PARAMS in entries else _flat(path, PARAMS, entries[PARAMS]),
        None if state is None else _flat(path, STATE, state),
        entries.get(NORMALIZER),
    )


def _check_name(path: object) -> None:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a path, not {type(path).__name__}")


def _wanted(path: Name, archive: zipfile.ZipFile) -> list[str]:
    names = set(archive.namelist())
    for name in (CONFIGURATION, PARAMS):
        if name not in names:
            _refuse(path, f"is no network of DL4J's: there is no {name} in it")
    return [name for name in (CONFIGURATION, PARAMS, NO_PARAMS, STATE, NORMALIZER) if name in names]


def _flat(path: Name, entry: str, data: bytes) -> Flat:
    reader = BinaryReader(data)
    try:
        array = reader.array()
    except UnknownTypeError as error:
        _refuse(path, f"{entry} cannot be represented: {error}")
    except ValueError as error:
        _refuse(path, f"{entry} is damaged: {error}")
    if not reader.at_end:
        _refuse(path, f"{entry} is damaged: something follows the array")
    return array.ravel(order="K")


def _refuse(path: Name, reason: str) -> NoReturn:
    refuse("file of a network", "path", os.fspath(path), reason)


def _write(path: Name, entries: dict[str, bytes | str]) -> None:
    """Write a zip; a file of that name is there as before or whole, whatever happens meanwhile."""
    _check_name(path)
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder, make it first", str(target.parent))
    beside = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(beside, "w") as archive:
            for name, content in entries.items():
                entry = zipfile.ZipInfo(name)  # of 1980: equal networks give equal files
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
        beside.replace(target)
    except OSError as error:
        if error.filename == str(beside):  # of which nobody knows
            error.filename, error.filename2 = str(target), None
        raise
    finally:
        beside.unlink(missing_ok=True)


class Stored:
    """A network that can be saved and loaded (DL4J: ``ModelSerializer``)."""

    configuration_class: ClassVar[Any]
    """The class of its configurations; a subclass that names one is what `load_model` makes of them."""
    kinds: ClassVar[dict[str, type[Stored]]] = {}
    """The kinds of networks, by the property that tells their configurations apart."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note what the class is loaded from."""
        super().__init_subclass__(**kwargs)
        if "configuration_class" in vars(cls):
            Stored.kinds[cls.configuration_class.json_key] = cls

    def save(self, path: Name, *, save_updater: bool = True, normalizer: Normalizer | None = None) -> None:
        """Write the network to a file that DL4J reads as well.

        Parameters
        ----------
        path : str or path
            The file; one that is there already is replaced when the new one is whole.
        save_updater : bool
            Whether the state of the updaters is written, so that learning can go on.
        normalizer : normaliser, optional
            What the data went through, to be found by `load_normalizer`.

        Raises
        ------
        ConfigurationError
            A class that DL4J does not have.
        TypeError
            What is given as normaliser is none.
        OSError
            The file cannot be written: there is no such folder, or no space.
        """
        if normalizer is not None and not isinstance(normalizer, Normalizer):
            raise TypeError(f"normalizer must be a Normalizer, not {type(normalizer).__name__}")
        net: Any = self
        tree = net.configuration.to_tree(iteration_count=net.iteration_count, epoch_count=net.epoch_count)
        entries: dict[str, bytes | str] = {
            CONFIGURATION: json.dumps(tree, indent=2),
            PARAMS: array_bytes(net.params()) if net.num_params() else b"",
        }
        if not net.num_params():
            entries[NO_PARAMS] = b""
        if save_updater and len(net.updater_state()):
            entries[STATE] = array_bytes(net.updater_state())
        if normalizer is not None:
            entries[NORMALIZER] = normalizer.to_bytes()
        _write(path, entries)

    @classmethod
    def load(cls, path: Name, *, load_updater: bool = True) -> Self:
        """Return the network that a file holds, of DL4J or of `save`.

        Parameters
        ----------
        path : str or path
            The file.
        load_updater : bool
            Whether the state of the updaters is taken, if there is one.

        Raises
        ------
        ConfigurationError
            The file is damaged, is no such file, or holds another kind of network.
        """
        return cls.from_archive(read_archive(path), path, load_updater=load_updater)

    @classmethod
    def from_archive(cls, archive: Archive, path: Name, *, load_updater: bool = True) -> Self:
        """Return the network that the content of a file describes."""
        net: Any = cls(cls.configuration_class.from_json(archive.configuration))  # type: ignore[call-arg]
        parts = [(PARAMS, net.params(), archive.params)]
        if load_updater and archive.state is not None:
            parts.append((STATE, net.updater_state(), archive.state))
        for entry, wanted, given in parts:
            if wanted.shape != given.shape:
                _refuse(path, f"{entry} has {len(given)} numbers, the network {len(wanted)}")
            wanted[...] = given
        tree = json.loads(archive.configuration)
        net.iteration_count = int(tree.get("iterationCount") or 0)
        net.epoch_count = int(tree.get("epochCount") or 0)
        loaded: Self = net
        return loaded


def load_model(path: Name, *, load_updater: bool = True) -> Any:
    """Return the network that a file holds, of whichever kind.

    Parameters
    ----------
    path : str or path
        The file, of DL4J or of a network's ``save``.
    load_updater : bool
        Whether the state of the updaters is taken, if there is one.

    Raises
    ------
    ConfigurationError
        The file is damaged, or no such file.
    """
    archive = read_archive(path)
    try:
        tree = json.loads(archive.configuration)
    except ValueError as error:
        _refuse(path, f"{CONFIGURATION} is damaged: {error}")
    kind = next((kind for key, kind in Stored.kinds.items() if isinstance(tree, dict) and key in tree), None)
    if kind is None:
        _refuse(path, f"{CONFIGURATION} describes no network; one has {' or '.join(Stored.kinds)}")
    return kind.from_archive(archive, path, load_updater=load_updater)


def load_normalizer(path: Name) -> Normalizer | None:
    """Return the normaliser in the file of a network, ``None`` if there is none.

    Raises
    ------
    ConfigurationError
        The file is damaged, or no such file.
    """
    content = read_archive(path).normalizer
    try:
        return None if content is None else Normalizer.from_bytes(content)
    except ValueError as error:
        _refuse(path, f"{NORMALIZER} is damaged: {error}")
