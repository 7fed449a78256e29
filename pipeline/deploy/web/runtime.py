"""onnxruntime-web: an npm package of one pinned version, fetched once and known by its hashes."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.config import InputError
from pipeline.files import write_atomic

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"

#: SHA-512 of the package, as its registry states it.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="

SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"

#: What is taken of it, and the SHA-256 of each.
FILES = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}

#: Seconds that npm may take for 33 MB.
PATIENCE = 600


def runtime(folder: Path, say: Callable[[str], None] = print) -> dict[str, bytes]:
    """``FILES`` by name, kept in ``folder``, where they are fetched by npm if they are not there.

    A package that lies there as ``onnxruntime-web-VERSION.tgz`` is taken instead. Raises ``InputError`` without npm or network,
    and for a package or file that is another one than its hash says.
    """
    if (kept := read(folder)) is not None:
        return kept
    package = folder / f"{PACKAGE}-{VERSION}.tgz"
    if package.is_file():
        content = package.read_bytes()
    else:
        say(f"fetching {PACKAGE} {VERSION} with npm, 33 MB, once")
        content = packed(folder)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if digest != INTEGRITY:
        raise InputError(
            f"{package.name}: its SHA-512 is {digest[:12]}…, expected {INTEGRITY[:12]}…: it is damaged or another package; "
            f"{f'remove {package} and' if package.is_file() else 'look at where npm fetches from, and'} say make web again"
        )
    for name, data in extracted(content).items():
        write_atomic(folder / name, data)
    if (kept := read(folder)) is None:
        raise InputError(f"{folder}: files of {PACKAGE} {VERSION} with other hashes than expected; remove the folder")
    return kept


def read(folder: Path) -> dict[str, bytes] | None:
    """The files, or None where one is missing or not what it should be."""
    try:
        contents = {name: (folder / name).read_bytes() for name in FILES}
    except FileNotFoundError:
        return None
    right = all(hashlib.sha256(contents[name]).hexdigest() == digest for name, digest in FILES.items())
    return contents if right else None


def packed(folder: Path) -> bytes:
    """The package as npm's registry has it."""
    elsewhere = f"or fetch it elsewhere (npm pack {PACKAGE}@{VERSION}) and put {PACKAGE}-{VERSION}.tgz into {folder}"
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"{PACKAGE} {VERSION} is not in {folder}, and there is no npm: install Node.js, {elsewhere}")
    with tempfile.TemporaryDirectory() as place:
        command = [npm, "pack", "--silent", "--ignore-scripts", f"{PACKAGE}@{VERSION}"]
        try:
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=PATIENCE)
            reason = next((line for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
        except subprocess.TimeoutExpired:
            reason = f"no answer in {PATIENCE} s"
        packages = list(Path(place).glob("*.tgz"))
        if len(packages) != 1:
            raise InputError(
                f"npm could not fetch {PACKAGE} {VERSION} ({reason}): try again with a network, {elsewhere}"
            )
        return packages[0].read_bytes()


def extracted(package: bytes) -> dict[str, bytes]:
    """``FILES`` out of the package."""
    contents = {}
    with tempfile.TemporaryFile() as file:
        file.write(package)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            for name in FILES:
                member = archive.extractfile(f"package/dist/{name}")
                contents[name] = member.read() if member else b""
    return contents
