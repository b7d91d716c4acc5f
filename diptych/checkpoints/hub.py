"""``hf:org/name[@revision]``: the files of a checkpoint from a Hugging Face hub, or from its cache."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from diptych.checkpoints.contents import find_contents
from diptych.errors import CheckpointError

PREFIX = "hf:"


def fetch(location: str) -> Path:
    """The local folder of ``hf:org/name`` or ``hf:org/name@revision`` (a branch, tag or commit).

    Only the files of the checkpoint are fetched, and only those not in the cache yet. Without a network a cached copy
    serves. Raises CheckpointError that tells a wrong name, a wrong revision and an unreachable hub apart.
    """
    repository, revision = _parse(location)
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        siblings = HfApi().model_info(repository, revision=revision).siblings or []
        contents = find_contents(_top_level(file.rfilename for file in siblings), location)
        paths = [Path(hf_hub_download(repository, name, revision=revision)) for name in contents.files()]
    except CheckpointError:
        raise
    except GatedRepoError as error:
        raise CheckpointError(f"{location} is gated: accept its terms on the hub and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{repository} has no branch, tag or commit {revision!r}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(
            f"the hub has no model {repository!r} (check the spelling; a private one needs HF_TOKEN)"
        ) from error
    except Exception as error:  # the transport's own errors, which change with huggingface_hub's versions
        return _cached(repository, revision, location, error)
    if len({path.parent for path in paths}) != 1:
        raise CheckpointError(f"{location} changed while it was fetched; fetch it again")
    return paths[0].parent


def _cached(repository: str, revision: str | None, location: str, problem: Exception) -> Path:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    wanted = revision or "main"
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        repositories = frozenset()
    for repo in repositories:
        for commit in repo.revisions:
            if repo.repo_id == repository and (wanted in commit.refs or wanted == commit.commit_hash):
                find_contents((file.file_name for file in commit.files), f"the cache of {location}")
                return commit.snapshot_path
    raise CheckpointError(
        f"{location} cannot be fetched and is not in the cache: {type(problem).__name__}: {problem}"
    ) from problem


def _parse(location: str) -> tuple[str, str | None]:
    repository, at, revision = location.removeprefix(PREFIX).partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")) or (at and not revision):
        raise CheckpointError(f"{location!r} is not hf:organisation/name or hf:organisation/name@revision")
    return repository, revision or None


def _top_level(names: Iterable[str]) -> list[str]:
    return [name for name in names if "/" not in name]
