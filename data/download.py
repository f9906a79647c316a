"""Finds a data set's files on disk or downloads them; either way, what is not the genuine content is refused."""

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass

import requests
import urllib3
from tqdm import tqdm

from data.archives import gunzip, unzip
from utils import files
from utils.errors import UserError, advising

__all__ = ["FileSet", "data_folder", "find", "find_or_download", "find_or_unzip"]

DATA_VARIABLE = "SPARSEVD_DATA"
MIRROR_VARIABLE = "SPARSEVD_MIRROR"
OFFLINE_VARIABLE = "SPARSEVD_OFFLINE"
DEFAULT_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "downloads")
#: Bytes of a file; more is refused unread.
LARGEST = 2 ** 29
CONNECT_SECONDS, STALL_SECONDS = 10, 20
#: A server that sends fewer bytes than this in three times STALL_SECONDS is given up.
SLOWEST = 2 ** 16


@dataclass(frozen=True)
class FileSet:
    """Where a data set's files are and what they must contain.

    Attributes
    ----------
    name : str
        the data set's, and of its folder
    mirrors : tuple of str
        base URLs, tried in order; one in the environment variable SPARSEVD_MIRROR comes first
    system_folders : tuple of str
        where a system package may have put the files
    sha256 : dict
        file name -> hash of its unpacked content
    variants : bool
        whether the user may give files of other content a name (`--variant`)
    trial : str
        the data set of the same kind that needs no download
    """

    name: str
    mirrors: tuple
    system_folders: tuple
    sha256: dict
    variants: bool = True
    trial: str = "digits"


def data_folder(data_dir=None):
    """The folder that holds the data sets' folders: `data_dir`, $SPARSEVD_DATA, or `data/downloads` in the project."""
    return os.path.expanduser(data_dir or os.environ.get(DATA_VARIABLE) or DEFAULT_FOLDER)


def find(file_set, data_dir=None, unpack=lambda content, name: content, variant=None):
    """As :func:`find_or_download`, but None if one of the files is not on disk."""
    places, contents = _places(file_set, data_dir), {}
    if not all(any(_paths(name, places, unpack)) for name in file_set.sha256):
        return None
    for name in file_set.sha256:
        content, _ = _on_disk(file_set, name, places, unpack, variant)
        if content is None:
            return None
        contents[name] = content
    return contents


def find_or_download(file_set, data_dir=None, unpack=lambda content, name: content, variant=None):
    """The unpacked content of each of the set's files, checked.

    Files are looked for in `<data_dir>/<name>`, in `data_dir` itself, and in the system folders, packed or unpacked;
    what is missing is downloaded to `<data_dir>/<name>`, unless the environment has SPARSEVD_OFFLINE.

    Parameters
    ----------
    file_set : :class:`FileSet`
    data_dir : str or None
        see :func:`data_folder`
    unpack : callable(bytes, file name) -> bytes
        raises UserError for damaged content
    variant : str or None
        what the user calls files of another content than the genuine one; None refuses them

    Returns
    -------
    dict
        file name -> bytes, in the order of `file_set.sha256`

    Raises
    ------
    UserError
        if a file on disk is not the genuine one, or one is missing and no mirror delivers it.
    """
    places = _places(file_set, data_dir)
    contents = {}
    for name in file_set.sha256:
        content, problem = _on_disk(file_set, name, places, unpack, variant)
        if content is not None:
            contents[name] = content
        elif os.environ.get(OFFLINE_VARIABLE):
            raise problem or UserError(f"{file_set.name}'s {name} is not in {places[0]}, and {OFFLINE_VARIABLE} "
                                       "forbids to download it: put it there, or name its folder with --data-dir or "
                                       f"{DATA_VARIABLE}")
        elif variant:
            raise UserError(f"{name} of the variant {variant!r} of {file_set.name} is not in {places[0]}: put it "
                            "there, or leave out --variant to download the official one")
        else:
            with advising(str(problem)) if problem else contextlib.nullcontext():
                contents[name] = _download(file_set, name, places[0], unpack)
    return contents


def find_or_unzip(file_set, archive, member, data_dir=None):
    """The content of a set's only file: as it lies on disk, or else from a zip archive, which may be downloaded.

    Parameters
    ----------
    file_set : :class:`FileSet`
        of the file
    archive : :class:`FileSet`
        of the archive
    member : str
        the file's path in the archive
    data_dir : str or None
        see :func:`data_folder`

    Raises
    ------
    UserError
        as :func:`find_or_download`, and if the archive does not hold the file.
    """
    if found := find(file_set, data_dir):
        content, = found.values()
        return content
    (name, packed), = find_or_download(archive, data_dir).items()
    return unzip(packed, (member,), name)[member]


def _places(file_set, data_dir):
    """The folders where a set's files are looked for, in this order; downloads go to the first."""
    data_dir = data_folder(data_dir)
    return (os.path.join(data_dir, file_set.name), data_dir, *file_set.system_folders)


def _on_disk(file_set, name, places, unpack, variant):
    """The unpacked content, or None; and the error of a file of that name that is not the set's.

    It may be another data set's where the folder is not the set's own; then the set's is downloaded.
    """
    problem = None
    for path in _paths(name, places, unpack):
        try:
            return _read(file_set, name, path, unpack, variant), None
        except UserError as error:
            if os.path.dirname(path) == places[0] or variant or not file_set.mirrors:
                raise
            problem = problem or error
    return None, problem


def _paths(name, places, unpack):
    """The files of that name that there are, packed or, where the hash is that of the unpacked content, unpacked."""
    names = (name, name.removesuffix(".gz")) if unpack is gunzip else (name,)
    return filter(os.path.isfile, (os.path.join(folder, own) for folder in places for own in names))


def _read(file_set, name, path, unpack, variant=None):
    try:
        content = unpack(_content(path, path), path)
        if not variant:
            _check(file_set, name, content, path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except UserError as error:
        anew = ", it is downloaded anew when missing" if file_set.mirrors else ""
        variant = " (or say by --variant what it is)" if file_set.variants else ""
        raise UserError(f"{error}; delete or replace it{anew}{variant}") from None
    return content


def _content(path, source):
    """The bytes of the file at `path`; UserError says of `source` that they are more than LARGEST."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise UserError(f"{source} has more than {LARGEST:,} bytes, and no data set's file does")
        return file.read(size)


def _check(file_set, name, content, path):
    found = hashlib.sha256(content).hexdigest()
    if found != file_set.sha256[name]:
        raise UserError(f"{path} is not {file_set.name}'s {name}: the sha256 of its content is {found[:16]}..., "
                        f"expected {file_set.sha256[name][:16]}...")


def _download(file_set, name, folder, unpack):
    mirrors = [mirror for mirror in (os.environ.get(MIRROR_VARIABLE), *file_set.mirrors) if mirror]
    path = os.path.join(folder, name)
    failures = []
    try:
        os.makedirs(folder, exist_ok=True)
        # The partial file outlives the process, so that the next one resumes it.
        with _alone(path + ".part") as part:
            if os.path.exists(path):
                return _read(file_set, name, path, unpack)
            for mirror in mirrors:
                url = mirror.rstrip("/") + "/" + name
                for attempt in ("resume", "from the start"):
                    resumed = part.seek(0, os.SEEK_END) > 0
                    try:
                        _fetch(url, name, part)
                        content = unpack(_content(part.name, url), url)
                        _check(file_set, name, content, url)
                    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                        failures.append(f"{mirror}: {_reason(error)}")
                        break
                    except UserError as error:
                        # What was resumed may have begun as another mirror's archive: once more, from the start.
                        part.truncate(0)
                        if not resumed:
                            failures.append(str(error))
                            break
                    else:
                        os.fsync(part.fileno())
                        os.replace(part.name, path)
                        return content
    except OSError as error:
        # Python's own have no number, and then no text of the system's.
        raise UserError(f"cannot write to {folder}: {error.strerror or error}; name another folder with --data-dir or "
                        f"{DATA_VARIABLE}") from None
    urls = " ".join(file_set.mirrors[0] + file for file in file_set.sha256)
    others = f" (or the same files from {' '.join(file_set.mirrors[1:])})" if file_set.mirrors[1:] else ""
    raise UserError(f"{file_set.name}'s {name} could not be downloaded ({'; '.join(failures)}). Put the files into "
                    f"{folder} yourself: {urls}{others}; or try without a download: --dataset {file_set.trial}")


@contextlib.contextmanager
def _alone(path):
    """Opens a file to write to, one process at a time, and deletes it if it is left empty."""
    with files.locked(path) as file:
        try:
            yield file
        finally:
            if file.seek(0, os.SEEK_END) == 0:
                os.unlink(path)


def _fetch(url, name, part):
    """Appends to the open file `part` what it lacks of `url`; a server that cannot resume sends it anew.

    Raises
    ------
    requests.RequestException, urllib3.exceptions.HTTPError, ValueError
        if the server does not deliver; requests lets through some errors of what it calls.
    """
    have = part.seek(0, os.SEEK_END)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS),
                      hooks={"response": _without_body}) as response:
        if response.status_code == 416:  # nothing is missing, or the partial file is of something else: the hash tells
            return
        response.raise_for_status()
        if response.status_code != 206:
            part.truncate(0)
            have = part.seek(0)
        total = min(have + (response.raw.length_remaining or 0), LARGEST) or None
        with tqdm(desc=name, total=total, initial=have, unit="B", unit_scale=True, disable=None) as bar:
            for chunk in _chunks(response.raw):
                part.write(chunk)
                bar.update(len(chunk))
                have += len(chunk)
                if have > LARGEST:  # refused when it is read
                    break
        part.flush()


def _without_body(response, **_):
    """Closes an answer that redirects; requests would read all of it, however much it is."""
    if response.is_redirect:
        response.close()


def _chunks(body):
    """The body of an answer as it arrives. Fewer bytes than announced, or too few in the time, raise HTTPError.

    It is not decoded: to many servers, a file's own gzip is a Content-Encoding, and Range counts encoded bytes. Where
    a server did encode the file though it was asked not to, the hash tells.
    """
    count, end = 0, time.monotonic() + 3 * STALL_SECONDS
    while chunk := body.read1(1 << 16, decode_content=False):
        yield chunk
        count += len(chunk)
        if time.monotonic() > end:
            if count < SLOWEST:
                raise urllib3.exceptions.TimeoutError
            count, end = 0, time.monotonic() + 3 * STALL_SECONDS


def _reason(error):
    if isinstance(error, requests.HTTPError):
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "the connection stalled"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "the connection failed"
    kind = type(error).__name__
    return f"no valid address or answer ({kind})" if isinstance(error, ValueError) else kind
