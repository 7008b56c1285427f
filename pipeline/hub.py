"""Fetching from the Hugging Face Hub: resumable, checked, atomic, and with errors that say what to do.

The Hub's own client does the talking (names, tokens, metadata, transfer with retries). What it leaves to us is to keep
a half-downloaded file over the end of the program, and to compare checksums.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.body.cache import only_one, write_atomically
from pipeline.console import explain
from pipeline.types import PipelineError
from pipeline.weights import RECORD, Weight, WeightFile

Progress = Callable[[str, float], None]
BLOCK = 1 << 20
SPARE = 64 << 20
"""Bytes that must stay free on the disk."""


def fetch(weight: Weight, progress: Progress | None = None) -> Path:
    """Bring all files of a part into the cache; what is there already is not asked for again.

    Args:
        weight: an entry of :data:`pipeline.weights.WEIGHTS`.
        progress: called with a file name and the share of it that is there.

    Returns:
        The file or folder, as :meth:`Weight.local_path`.

    Raises:
        PipelineError: everything that can go wrong, in one sentence with the way out. A stopped download is kept and
            continued by the next call.
    """
    if not weight.source:
        raise PipelineError(f"{weight.name} cannot be downloaded by this program; {weight.how()}.")
    ready = weight.local_path()
    if ready is not None:
        return ready
    tell = progress or (lambda stage, share: None)
    known = weight.record()
    known = known if known.get("repo") == weight.source else {}
    revision = weight.revision or known.get("commit") or "main"
    record: dict[str, Any] = {"repo": weight.source, "commit": None, "files": dict(known.get("files", {}))}
    with only_one(weight.cache / RECORD), _explained(weight, revision):
        for file in weight.files:
            if (weight.cache / file.path).is_file() and file.path in record["files"]:
                record["commit"] = record["commit"] or known.get("commit")
                continue
            pin = record["commit"] or revision
            commit, checksum = _fetch_file(weight, file, pin, record["files"].get(file.path), tell)
            record["commit"] = commit or pin
            record["files"][file.path] = checksum
            _write_record(weight, record)
    path = weight.local_path()
    assert path is not None
    return path


def _write_record(weight: Weight, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=1)
    write_atomically(weight.cache / RECORD, lambda path: path.write_text(text, "utf-8") and None)


def _fetch_file(
    weight: Weight, file: WeightFile, revision: str, recorded: str | None, tell: Progress
) -> tuple[str | None, str]:
    """Download one file; returns the commit that it came from and its sha256."""
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url

    target = weight.cache / file.path
    url = hf_hub_url(weight.source, file.path, repo_type="dataset" if weight.dataset else None, revision=revision)
    meta = get_hf_file_metadata(url, token=get_token())
    part = _prepare_part(target, meta.etag or "", meta.size)
    _download(meta.location, url, part, meta.size, file.path, tell)
    digest = _verify(part, file, meta.etag or "", recorded)
    os.replace(part, target)
    part.with_suffix(".etag").unlink(missing_ok=True)
    tell(file.path, 1.0)
    return meta.commit_hash, digest


def _prepare_part(target: Path, etag: str, size: int | None) -> Path:
    """The file to append to; what is left of another version is thrown away.

    Raises:
        PipelineError: not enough room.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    mark = part.with_suffix(".etag")
    if not (mark.is_file() and mark.read_text("utf-8") == etag):
        part.unlink(missing_ok=True)
        mark.write_text(etag, "utf-8")
    have = part.stat().st_size if part.is_file() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    free = shutil.disk_usage(target.parent).free
    if size is not None and free < size - have + SPARE:
        raise PipelineError(
            f"{target.name} needs {(size - have) / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free in {target.parent}; "
            "make room or set ONESHOT_CACHE to another disk."
        )
    return part


def _download(location: str, url: str, part: Path, size: int | None, name: str, tell: Progress) -> None:
    """Append what is missing. Every byte that arrives stays for the next try."""
    from urllib.parse import urlsplit

    from huggingface_hub import get_token
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    same_host = urlsplit(location).netloc == urlsplit(url).netloc
    headers = build_hf_headers(token=get_token() if same_host else False)
    with part.open("ab") as file:
        done = file.tell()
        if size is not None and done == size:
            return
        http_get(
            location, file, resume_size=done, headers=headers, expected_size=size, displayed_filename=name,
            tqdm_class=_bar(name, size, tell),  # type: ignore[arg-type]
        )  # fmt: skip


def _bar(name: str, size: int | None, tell: Progress) -> type:
    """A progress bar class for the Hub's client that reports to ``tell`` and draws nothing."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})
            self.there = options.get("initial") or 0

        def update(self, n: float | None = 1) -> bool | None:
            self.there += n or 0
            tell(name, min(self.there / size, 1.0) if size else 0.0)
            return None

    return Bar


def _verify(part: Path, file: WeightFile, etag: str, recorded: str | None) -> str:
    """The sha256 of a complete download, compared with all that is known about it.

    Raises:
        PipelineError: another content; the download is thrown away.
    """
    digest, git = hashlib.sha256(), hashlib.sha1(f"blob {part.stat().st_size}\0".encode(), usedforsecurity=False)
    with part.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            git.update(block)
    found = digest.hexdigest()
    stated = {64: found, 40: git.hexdigest()}.get(len(etag))  # large files: sha256; small ones: git's own
    wanted = file.sha256 or recorded
    if (wanted and not found.startswith(wanted)) or (stated and stated != etag.lower()):
        part.unlink()
        part.with_suffix(".etag").unlink(missing_ok=True)
        raise PipelineError(
            f"{file.path} arrived with the checksum {found[:12]} and not {(wanted or etag)[:12]}; it was thrown away, "
            "fetch it again, and report it if it happens twice."
        )
    return found


@contextlib.contextmanager
def _explained(weight: Weight, revision: str) -> Iterator[None]:
    """Turn what the client raises into sentences."""
    from huggingface_hub import errors, get_token

    repo = weight.source
    try:
        yield
    except errors.GatedRepoError as error:
        page = f"https://huggingface.co/{repo}"
        raise PipelineError(
            f"{repo} has terms that your account has not accepted; accept them at {page} and fetch again."
            if get_token()
            else f"{repo} has terms to be accepted: do so at {page} with a Hugging Face account, set HF_TOKEN to its "
            "token, and fetch again."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise PipelineError(
            f"{repo} does not exist or is private; set HF_TOKEN to a token of an account that may read it."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise PipelineError(
            f"{repo} no longer has the revision {revision[:12]} that {weight.name} is pinned to; update this program."
        ) from error
    except errors.EntryNotFoundError as error:
        raise PipelineError(f"{repo} does not hold all of {weight.file}; update this program.") from error
    except errors.OfflineModeIsEnabled as error:
        raise PipelineError(
            f"{weight.name} is not on this machine and HF_HUB_OFFLINE forbids to look for it; unset it and fetch again."
        ) from error
    except errors.HfHubHTTPError as error:
        raise PipelineError(_status_sentence(weight, error)) from error
    except errors.HTTPError as error:  # the transport's: no connection, timeout, broken transfer
        raise PipelineError(
            f"The Hub could not be reached ({type(error).__name__}); check it and fetch {weight.name} again; "
            "it continues."
        ) from error
    except OSError as error:
        if "Consistency check failed" in str(error) or isinstance(error, errors.FileMetadataError):
            raise PipelineError(f"{weight.name} arrived only in part; fetch it again, it continues.") from error
        raise PipelineError(
            f"{weight.name} could not be stored in {weight.cache} ({explain(error)}); put this right and fetch again; "
            "it continues."
        ) from error


def _status_sentence(weight: Weight, error: Any) -> str:
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        return "The Hub does not accept your token; set HF_TOKEN to a valid one or unset it."
    if status == 403:
        return f"Your token may not read {weight.source}; give it the right to read gated repositories."
    if status == 429:
        return "The Hub asks to wait, too many requests came from here; try again in some minutes."
    return f"The Hub answered with status {status} for {weight.source}; try again later, it continues where it stopped."
