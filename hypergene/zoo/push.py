"""A model folder on its way to the hub: what is uploaded, what must be in order before."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hypergene.errors import ModelError, UsageError, first_line
from hypergene.model.config import ModelConfig
from hypergene.zoo.checksums import CHECKSUMS, checksums_text, known_files, sha256_of
from hypergene.zoo.folder import CARD, load_model, read_config
from hypergene.zoo.hub import page
from hypergene.zoo.hub_api import TAG, TOKEN_HINT, HubOutOfReachError, TokenError, account

PIPELINE_TAG: Final = "image-feature-extraction"
"""The hub has no task for gene expression from images; this is the nearest one."""

_LICENCES = frozenset(
    {
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "isc", "unlicense"),
        *("gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "eupl-1.2", "ecl-2.0"),
        *("cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
        *("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "odc-by", "odbl", "pddl"),
    }
)
"""Licences as the hub calls them; others are ``other`` there, with a ``license_name``."""
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class PlannedFile:
    """A file as it will be uploaded.

    Attributes
    ----------
    name
        In the repository.
    source
        Where its content is: a file, or the content itself where it differs from the folder's.
    size_bytes, sha256
        Of that content.
    """

    name: str
    source: Path | bytes
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class PushPlan:
    """What an upload would do.

    Attributes
    ----------
    repository
        ``org/name``.
    files
        In the order in which they are listed.
    left_out
        Names of other things in the folder, which stay where they are.
    public
        Names of samples and the like that whoever reads the model can see.
    warnings
        What to think about before, one sentence each.
    """

    repository: str
    files: tuple[PlannedFile, ...]
    left_out: tuple[str, ...]
    public: tuple[str, ...]
    warnings: tuple[str, ...]


def plan_push(folder: Path, repository: str) -> PushPlan:
    """Check a model folder and lay out its upload; nothing is changed, the hub is not asked.

    The copy of the card that is uploaded gets the hub's front matter where it lacks it
    (``library_name``, ``license``, ``tags``, ``pipeline_tag``, and a table ``hypergene``), and the
    checksums are those of what is uploaded.

    Parameters
    ----------
    folder
        Of the model.
    repository
        ``org/name`` on the hub.

    Raises
    ------
    ModelError
        `repository` is no such name; the folder does not load; the licence is not stated; the card
        is missing or says nothing of the data it was trained on.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ModelError(
            f"{repository!r} is no name of a repository.", hint="Give org/name, as lab/breast-st."
        )
    config = read_config(folder)
    card = _checked_card(folder, config)
    load_model(folder)
    files = [
        PlannedFile(path.name, path, path.stat().st_size, sha256_of(path))
        for path in known_files(folder)
        if path.name != CARD
    ]
    files.append(_of_text(CARD, with_front_matter(card, config, folder)))
    sums = checksums_text({file.name: file.sha256 for file in files})
    files.append(_of_text(CHECKSUMS, sums))
    uploaded = {file.name for file in files}
    about = config.provenance
    return PushPlan(
        repository=repository,
        files=tuple(files),
        left_out=tuple(sorted(p.name for p in folder.iterdir() if p.name not in uploaded)),
        public=tuple(dict.fromkeys((*about.trained_on, *about.counts_of, *about.validated_on))),
        warnings=_to_think_about(config),
    )


def push(plan: PushPlan, *, private: bool = False) -> str:
    """Upload a model: one commit, in a repository that is made if it is not there.

    Parameters
    ----------
    plan
        See :func:`plan_push`.
    private
        Whether a new repository is private; one that exists must be.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    TokenError
        No access token is given, the hub does not know it, or it may not write there.
    HubOutOfReachError
        No answer.
    UsageError
        `private` is wanted, and the repository is there for everyone.
    ModelError
        The hub refuses for another reason, which is said.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    who = account()  # with a time limit, which the client below has not
    api = HfApi(endpoint=constants.ENDPOINT)
    operations = [
        CommitOperationAdd(
            path_in_repo=file.name,
            path_or_fileobj=file.source if isinstance(file.source, bytes) else str(file.source),
        )
        for file in plan.files
    ]
    try:
        api.create_repo(plan.repository, private=private or None, exist_ok=True)
        if private and not api.model_info(plan.repository).private:
            raise UsageError(
                f"{page(plan.repository)} exists already and is not private.",
                hint="Make it private in its settings, give another name, or leave --private out.",
            )
        done = api.create_commit(
            plan.repository, operations, commit_message="Model written by hypergene"
        )
    except UsageError:
        raise
    except Exception as error:  # whatever the hub, the network and the disk raise
        raise _refused(error, plan.repository, who) from error
    return str(done.commit_url)


def with_front_matter(card: str, config: ModelConfig, folder: Path) -> str:
    """Return a card with the hub's front matter; what it says there already is kept.

    Raises
    ------
    ModelError
        The card has a front matter that is no YAML table.
    """
    from huggingface_hub import ModelCard

    about = config.provenance
    licence = about.licence.lower()
    known = licence in _LICENCES
    wanted: dict[str, Any] = {
        "library_name": TAG,
        "license": licence if known else "other",
        **({} if known else {"license_name": licence}),
        "pipeline_tag": PIPELINE_TAG,
        TAG: {
            "genes": len(config.genes),
            "tissue": about.tissue,
            "layout": config.layout.name,
            "tile_um": list(config.encoder.tile_um),
        },
    }
    try:
        # An empty one is put before a card that has none, which the hub's reader warns of.
        held = ModelCard(card if card.startswith("---") else f"---\n{{}}\n---\n{card}")
        data = held.data.to_dict()
    except Exception as error:  # the YAML reader's errors are of many kinds
        raise ModelError(
            f"The front matter of {folder / CARD} is no YAML table ({first_line(error)}).",
            hint="Correct what stands between the two lines ---, or remove it.",
        ) from error
    for key, value in wanted.items():
        if key == "license_name" and data.get("license") not in (None, "other"):
            continue
        if data.get(key) is None:
            held.data[key] = value
    tags = [str(tag) for tag in data.get("tags") or ()]
    own = (TAG, "histology", "spatial-transcriptomics", "pathology")
    held.data["tags"] = list(dict.fromkeys((*tags, *own)))
    return str(held)


def _checked_card(folder: Path, config: ModelConfig) -> str:
    """Read the card, and refuse one that leaves out what everybody must know."""
    path = folder / CARD
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{folder} has no card: {CARD} is missing or unreadable.",
            hint="Write what the model is, what it was trained on, and what it is not for.",
        ) from error
    if config.provenance.licence.strip().lower() in ("", "unknown"):
        raise ModelError(
            f"The model in {folder} states no licence.",
            hint="Train it with about.licence set (an SPDX identifier), as docs/recipes.md says.",
        )
    data = re.search(r"^##\s+(?:Training )?Data\b[^\n]*\n(.*?)(?=^#{1,2}\s|\Z)", text, re.S | re.M)
    if data is None or not data[1].strip():
        raise ModelError(
            f"{path} does not say what the model was trained on: its section ## Data is missing or "
            "empty.",
            hint="Name the data, their source and their licence there.",
        )
    return text


def _to_think_about(config: ModelConfig) -> tuple[str, ...]:
    warnings = []
    encoder = config.encoder
    if encoder.licence:
        warnings.append(
            f"The encoder's weights came from {encoder.source or encoder.name} and stay under "
            f"their own licence ({encoder.licence}): make sure that you may pass them on."
        )
    if config.provenance.validation == "none":
        warnings.append("Nothing was held out in training: how good the model is, is not known.")
    return tuple(warnings)


def _of_text(name: str, text: str) -> PlannedFile:
    content = text.encode()
    return PlannedFile(name, content, len(content), hashlib.sha256(content).hexdigest())


def _refused(error: Exception, repository: str, who: str) -> ModelError:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return TokenError(
            f"The access token of {who} may not write to {repository}.",
            hint=f"It needs the role 'write' for that organisation. {TOKEN_HINT}",
        )
    if status is None and not isinstance(error, errors.HfHubHTTPError | ValueError):
        return HubOutOfReachError(
            f"The upload to {page(repository)} broke off ({first_line(error)}).",
            hint="Run the same command again: what has arrived is not sent twice.",
        )
    return ModelError(
        f"The hub refuses the model {repository}: {first_line(error)}.",
        hint="See what it says, or upload with --dry-run first.",
    )
