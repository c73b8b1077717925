"""Models from elsewhere: published to a hub, a folder or a zip file, and fetched from a hub or by a URL with its hash.

Nothing is fetched unless such an address is given. Only files that a model needs are taken, none of which holds code.
"""

import hashlib
import http.client
import importlib
import json
import re
import shutil
import string
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from unbraid.core.cache import cache_folder
from unbraid.core.checksums import read_tensors, write_tensors
from unbraid.core.files import parse_json, write_atomically
from unbraid.core.types import UserError

FILES = ("model.safetensors", "features.safetensors", "config.json", "metrics.json", "README.md")
"""Of a run, what is published and fetched; the first is needed."""
MOST_BYTES = 2_000_000_000
"""Of a model that is fetched, at most."""
HUB = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
URL = re.compile(r"(https?):/{1,2}([^#\n]+)(?:#(.*))?")
ADDRESS = re.compile(r"hf:|[a-zA-Z][\w+.-]+:/")
"""How what is no path begins; one letter is a drive."""
HASH = re.compile(r"sha256=([0-9a-fA-F]{64})")
BLOCK = 1 << 20


def is_address(run: str | Path) -> bool:
    """Returns whether this names a model elsewhere. A path has lost one of two slashes."""
    return bool(HUB.fullmatch(str(run)) or URL.fullmatch(str(run)))


def fetched(address: str | Path) -> Path:
    """Returns a folder with the model of an address, which is fetched unless it is there already.

    address: hf://user/name or hf://user/name@revision, or a URL of .zip or .safetensors with #sha256=HASH.
    Raises UserError if it can't be had, is too large, or another file than the hash says.
    """
    if found := HUB.fullmatch(str(address)):
        return _from_hub(found[1], found[2])
    found = URL.fullmatch(str(address))
    if found is None:
        raise UserError(f"{address}: hf://user/name, or a URL that ends in #sha256=HASH")
    wanted = HASH.fullmatch(found[3] or "")
    if wanted is None:
        raise UserError(
            f"{address}: put #sha256= and the file's SHA-256, of 64 digits, behind it, so that nothing else is taken"
        )
    return _from_url(f"{found[1]}://{quote(found[2], safe=string.punctuation)}", wanted[1].lower())


def publish(run: Path, to: str, private: bool = False) -> str:
    """Publishes the model of a run with its card.

    Args:
        run: Folder of the run.
        to: hf://user/name, a .zip file, or a folder.
        private: Whether a new repository on the hub is private.

    Returns:
        The address by which it can be used.

    Raises:
        UserError: There is no model, something else lies there, or the hub refuses it.
    """
    if not (run / FILES[0]).is_file():
        raise UserError(f"{run} holds no model: it has no {FILES[0]}")
    hub = HUB.fullmatch(to)
    if hub is None and ADDRESS.match(to):
        raise UserError(f"{to}: give hf://user/name, a .zip file or a folder")
    with tempfile.TemporaryDirectory(prefix="unbraid-") as place:
        packed = Path(place)
        _collect(run, packed, to if hub else None)
        if hub:
            return _to_hub(packed, hub[1], private)
        out = Path(to)
        if out.suffix.lower() == ".zip":
            if out.exists():
                raise UserError(f"{out} is there: give another name, or remove it")
            write_atomically(out, lambda path: _zip(packed, path))
            return f"https://HOST/{quote(out.name)}#sha256={digest(out)}"
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} is not an empty folder: give another one")
        try:
            for file in sorted(packed.iterdir()):
                write_atomically(out / file.name, lambda path, file=file: shutil.copyfile(file, path))
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)  # it was empty
            raise
        return str(out)


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _collect(run: Path, folder: Path, address: str | None) -> None:
    """Copies what is published. Settings keep the last name of each folder, and the card how the model is loaded."""
    for name in FILES:
        if not (run / name).is_file():
            continue
        if name.endswith(".json"):
            values = _without_folders(parse_json((run / name).read_bytes(), str(run / name), dict[str, Any]))
            (folder / name).write_text(json.dumps(values, indent=2) + "\n")
        elif name.endswith(".safetensors"):
            text, tensors = read_tensors(run / name)
            write_tensors(folder / name, {**tensors}, json.dumps(_without_folders(json.loads(text))))
        elif name == "README.md":
            text = (run / name).read_text("utf-8")
            text = re.sub(r"!\[[^\]]*\]\([^)]*\)\n*", "", text)  # pictures show the user's data
            text = _loaded_from(address or "FOLDER", text)
            text = re.sub(r'"([^"\n]*)"', lambda found: f'"{_without_folder(found[1])}"', text)
            text = re.sub(r"(?<=: )\S+$", lambda found: _without_folder(found[0]), text, flags=re.MULTILINE)
            head = "" if text.startswith("---") else "---\nlibrary_name: unbraid\ntags:\n- image-to-image\n---\n\n"
            (folder / name).write_text(head + text, "utf-8")
        else:
            shutil.copyfile(run / name, folder / name)


def _loaded_from(address: str, card: str) -> str:
    """Returns the card with this address in place of the run's folder, wherever that lay when the card was written."""
    card = re.sub(r'unbraid\.load\("[^"\n]*"\)', lambda _: f'unbraid.load("{address}")', card)
    command = r"^(    unbraid (?:translate|transfer)) .*? (?=IMAGE\.\.\. |--content IMAGE\.\.\. )"
    return re.sub(command, lambda found: f"{found[1]} {address} ", card, flags=re.MULTILINE)


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return _without_folder(value) if isinstance(value, str) else value


def _without_folder(text: str) -> str:
    """Returns an absolute path without its folder, also one behind an @, as in timm/NAME@FILE; other text as is."""
    if Path(text).is_absolute():
        return Path(text).name
    name, at, file = text.partition("@")
    return f"{name}{at}{Path(file).name}" if Path(file).is_absolute() else text


def _zip(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            about = zipfile.ZipInfo(file.name)  # with no date, so that the same model has the same hash
            archive.writestr(about, file.read_bytes(), zipfile.ZIP_DEFLATED)


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError("hf:// needs a package: pip install 'unbraid[hub]'") from error


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of the hub's package and of what it stands on
        raise UserError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _to_hub(folder: Path, name: str, private: bool) -> str:
    api = _hub().HfApi()
    with _hub_errors(f"hf://{name} can't be written"):
        api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=str(folder),
            commit_message="Publish a model of unbraid",
            delete_patterns=list(FILES),  # those of an earlier model
        )
    return f"hf://{name}"


def _from_hub(name: str, revision: str | None) -> Path:
    hub, wanted = _hub(), list(FILES)
    with _hub_errors(f"hf://{name} can't be fetched"):
        try:
            found = hub.HfApi().model_info(name, revision=revision, files_metadata=True)
        except Exception as error:
            if getattr(getattr(error, "response", None), "status_code", 500) < 500:
                raise  # the hub says no
            try:  # without network, what was fetched before can be used
                return Path(
                    hub.snapshot_download(name, revision=revision, allow_patterns=wanted, local_files_only=True)
                )
            except Exception:
                raise error from None
        sizes = {each.rfilename: each.size or 0 for each in found.siblings or []}
        if FILES[0] not in sizes:
            raise UserError(f"hf://{name} is no model of unbraid: it has no {FILES[0]}")
        _check_size(f"hf://{name}", sum(sizes.get(file, 0) for file in FILES))
        # by the name of the revision, not its hash: by this name it is found again without network
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=wanted))


def _from_url(url: str, wanted: str) -> Path:
    folder = cache_folder() / "models" / wanted
    if (folder / FILES[0]).is_file():
        return folder
    with tempfile.TemporaryDirectory(prefix="unbraid-") as place:
        file, fresh = Path(place) / "file", Path(place) / "model"
        try:
            with urllib.request.urlopen(url, timeout=60) as response, file.open("wb") as out:
                got = _receive(url, response.read, out)
                expected = int(response.headers.get("Content-Length") or out.tell())
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or repr(error)
            raise UserError(f"{url} can't be fetched: {reason}") from error
        if (size := file.stat().st_size) < expected:
            raise UserError(f"{url} was cut off after {size:,} of {expected:,} bytes: try again")
        if got != wanted:
            raise UserError(f"{url} is another file than its #sha256 says: {got} was found")
        fresh.mkdir()
        if zipfile.is_zipfile(file):
            _unzip(url, file, fresh)
        else:
            file.rename(fresh / FILES[0])
        folder.parent.mkdir(parents=True, exist_ok=True)
        for name in reversed(FILES):  # the model last: a folder that has it is complete
            if (fresh / name).exists():
                write_atomically(folder / name, lambda path, name=name: shutil.copyfile(fresh / name, path))
    return folder


def _receive(url: str, read: Callable[[int], bytes], out: BinaryIO) -> str:
    """Writes what comes, and returns its SHA-256. Raises UserError if it is too much."""
    found, size = hashlib.sha256(), 0
    while block := read(BLOCK):
        size += len(block)
        _check_size(url, size)
        found.update(block)
        out.write(block)
    return found.hexdigest()


def _unzip(url: str, file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        held = {about.filename: about for about in archive.infolist() if about.filename in FILES}
        if FILES[0] not in held:
            raise UserError(f"{url} is no model of unbraid: it has no {FILES[0]}")
        _check_size(url, sum(about.file_size for about in held.values()))
        for name, about in held.items():
            with archive.open(about) as source, (folder / name).open("wb") as out:
                shutil.copyfileobj(source, out)


def _check_size(what: str, size: int) -> None:
    if size > MOST_BYTES:
        raise UserError(f"{what} has more than {MOST_BYTES // 10**9} GB, which no model of unbraid should have")
