"""What the Hugging Face hub answers, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from hypergene.errors import ModelError, first_line

HUB_PREFIXES: Final = ("hf-hub:", "hf_hub:")
WEIGHTS: Final = "model.safetensors"
PICKLES: Final = ("pytorch_model.bin", "pytorch_model.pt", "pytorch_model.pth")
_HTTP_CLIENTS: Final = ("httpx", "httpx2", "httpcore", "requests", "urllib3")
HOW_TO_CONVERT: Final = (
    "Convert it once with python -m hypergene.zoo.convert FILE.bin FILE.safetensors, and give it "
    "as encoder.weights=FILE.safetensors."
)


def fetch_file(repository: str, revision: str | None, name: str, *, what: str) -> Path:
    """Return a file of a repository: from the local cache if it is the newest, or fetched.

    Parameters
    ----------
    repository
        ``org/name``.
    revision
        Branch, tag or commit; None = the newest.
    name
        The file.
    what
        What is fetched, for messages: ``"encoder"``, ``"model"``.

    Raises
    ------
    ModelError
        No access, no such repository, revision or file, or no answer and no copy in the cache.
    """
    from huggingface_hub import constants, errors, get_hf_file_metadata
    from huggingface_hub import hf_hub_download as download
    from huggingface_hub import hf_hub_url as url

    with _hub_errors(repository, revision, name, what=what):
        try:
            # One question with a time limit: the download below asks a silent hub for minutes.
            asked = url(repository, name, revision=revision)
            get_hf_file_metadata(asked, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        except Exception:  # refused, or out of reach: a copy in the cache serves as well
            with suppress(errors.LocalEntryNotFoundError):
                return Path(download(repository, name, revision=revision, local_files_only=True))
            raise
        return Path(download(repository, name, revision=revision))


def refetch(repository: str, revision: str, name: str, *, what: str) -> Path:
    """Fetch a file once more, in place of a damaged one in the cache.

    Parameters
    ----------
    repository, revision, name, what
        As for :func:`fetch_file`.

    Raises
    ------
    ModelError
        As :func:`fetch_file`.
    """
    from huggingface_hub import hf_hub_download

    with _hub_errors(repository, revision, name, what=what):
        return Path(hf_hub_download(repository, name, revision=revision, force_download=True))


def fetch_weights(repository: str, revision: str | None, *, what: str) -> Path:
    """Return the safetensors file of a repository.

    Raises
    ------
    ModelError
        As :func:`fetch_file`; or the repository has its weights only as a pickle.
    """
    try:
        return fetch_file(repository, revision, WEIGHTS, what=what)
    except MissingFileError:
        pickle = _pickle_of(repository, revision)
        if pickle is None:
            raise
        raise ModelError(
            f"The {what} {repository} has its weights as {pickle} only, a pickle, which can run "
            "code and is not opened.",
            hint=f"Download it from {page(repository)}. {HOW_TO_CONVERT}",
        ) from None


class MissingFileError(ModelError):
    """The repository is there, the file is not."""


def page(repository: str) -> str:
    """Return the address where a repository is looked at, and access to it is asked for."""
    return f"https://huggingface.co/{repository}"


@contextmanager
def _hub_errors(repository: str, revision: str | None, name: str, *, what: str) -> Iterator[None]:
    """Turn whatever the hub and the network raise into one sentence."""
    from huggingface_hub import errors, get_token

    try:
        yield
    except errors.GatedRepoError as error:
        why = "this account has no access to it" if get_token() else "no access token is given"
        raise ModelError(
            f"The {what} {repository} is gated and {why}.",
            hint=f"Ask for access at {page(repository)} and set HF_TOKEN to your access token.",
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise _out_of_reach(repository, what) from error
    except errors.EntryNotFoundError as error:
        raise MissingFileError(
            f"The {what} {repository} has no {name} on the hub.",
            hint=f"See {page(repository)}/tree/main for what it has.",
        ) from error
    except (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.HFValidationError,
    ) as error:
        address = repository if revision is None else f"{repository}@{revision}"
        raise ModelError(
            f"The hub has no {what} {address!r}.",
            hint="Check the name and the revision; a private one needs HF_TOKEN.",
        ) from error
    except ConnectionError as error:
        raise _out_of_reach(repository, what) from error
    except Exception as error:  # whatever the network and the disk raise below the hub
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is None and type(error).__module__.partition(".")[0] in _HTTP_CLIENTS:
            raise _out_of_reach(repository, what) from error
        if status == 401:
            raise ModelError(
                f"The hub does not know the access token that {repository} was asked for with.",
                hint="Set HF_TOKEN to a token of https://huggingface.co/settings/tokens that may "
                "read, or unset it.",
            ) from error
        reason = first_line(error)
        raise ModelError(
            f"The {what} {repository} cannot be fetched from the hub: {reason}.",
            hint="Try again, or give the path of a local copy.",
        ) from error


def _out_of_reach(repository: str, what: str) -> ModelError:
    local = {
        "encoder": "give its weights as encoder.weights=FILE.safetensors",
        "model": "give the path of a model folder",
    }
    return ModelError(
        f"The {what} {repository} is not cached and the hub cannot be reached.",
        hint=f"Fetch it once with a network, or {local.get(what, 'give a local copy')}.",
    )


def _pickle_of(repository: str, revision: str | None) -> str | None:
    """Name of the pickle that a repository has in place of safetensors."""
    import huggingface_hub
    from huggingface_hub import constants

    for name in PICKLES:
        url = huggingface_hub.hf_hub_url(repository, name, revision=revision)
        try:
            huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        except Exception:  # not there, or the hub went silent: then there is nothing to say of it
            continue
        return name
    return None
