"""Questions to the Hugging Face hub itself: who asks, and which models it has.

The hub's own client waits for ever on a server that goes silent. Every question here has a time
limit, so that a command that only looks never hangs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from hypergene.errors import ModelError

TAG: Final = "hypergene"
"""``library_name`` of our models on the hub, by which they are found."""
TIMEOUT_S: Final = 8.0
MOST: Final = 500
"""Models of the hub that are listed at most."""

TOKEN_HINT: Final = (
    "Set HF_TOKEN to a token of https://huggingface.co/settings/tokens, or run hf auth login."
)
_WHICH_HUB = "Check HF_ENDPOINT and the proxy."
_REFUSALS = (401, 403, 429)


class HubOutOfReachError(ModelError):
    """No answer: no network, a wrong address, a silent server, or offline on purpose."""


class TokenError(ModelError):
    """An access token that is missing, unknown, or may not do this."""


@dataclass(frozen=True)
class HubModel:
    """A model as the hub lists it.

    Attributes
    ----------
    repository
        ``org/name``.
    licence
        As the hub names it, in lower case; empty if it says none.
    about
        Table ``hypergene`` of the card's front matter, as ``hypergene models push`` writes it.
    size_bytes
        Of the repository; None if the hub does not say.
    gated, private
        Whether access must be asked for, or is not for everyone.
    """

    repository: str
    licence: str
    about: Mapping[str, Any]
    size_bytes: int | None
    gated: bool
    private: bool


def ask_hub(
    path: str,
    parameters: Iterable[tuple[str, str]] = (),
    *,
    with_token: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> Any:
    """Ask the hub's API one question.

    Parameters
    ----------
    path
        Of the API, such as ``/api/models``.
    parameters
        Of the question.
    with_token
        Whether this user's access token goes with it, if there is one.
    timeout_s
        Seconds for the connection, and between two signs of life.

    Returns
    -------
    object
        The answer, read as JSON.

    Raises
    ------
    HubOutOfReachError
        No answer, or ``HF_HUB_OFFLINE`` is set.
    TokenError
        The hub does not know the token.
    ModelError
        The hub refuses, or its answer is no JSON.
    """
    from huggingface_hub import constants, get_token

    hub = constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        raise HubOutOfReachError(
            "The hub is not asked, because HF_HUB_OFFLINE is set.", hint="Unset it to ask the hub."
        )
    token = get_token() if with_token else None
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        # By name, for old clients have it nowhere else and call it no public one there.
        session = import_module("huggingface_hub.utils").get_session()
        answer = session.get(
            f"{hub}{path}", params=list(parameters), headers=headers, timeout=timeout_s
        )
        status = int(answer.status_code)
        held = answer.json() if status == 200 else None
    except ValueError as error:
        raise ModelError(f"{hub} answers, but not as the hub does.", hint=_WHICH_HUB) from error
    except Exception as error:  # whatever the network raises below the hub's client
        raise HubOutOfReachError(
            f"The hub cannot be reached at {hub} ({type(error).__name__}).",
            hint="Check the network and the proxy (HTTPS_PROXY), or set HF_HUB_OFFLINE=1.",
        ) from error
    if status == 401 and token:
        raise TokenError("The hub does not know the access token.", hint=TOKEN_HINT)
    if status in _REFUSALS or status >= 500:
        raise ModelError(f"The hub refuses with status {status}.", hint="Try again later.")
    if status != 200:
        raise ModelError(
            f"{hub} answers, but not as the hub does (status {status}).", hint=_WHICH_HUB
        )
    return held


def account(*, timeout_s: float = TIMEOUT_S) -> str:
    """Return the name of the account that the access token belongs to.

    Raises
    ------
    TokenError
        There is no token, or the hub does not know it.
    HubOutOfReachError
        No answer.
    ModelError
        The hub refuses otherwise.
    """
    from huggingface_hub import get_token

    if not get_token():
        raise TokenError("No access token for the hub is given.", hint=TOKEN_HINT)
    answer = ask_hub("/api/whoami-v2", timeout_s=timeout_s)
    return str(answer.get("name", "unknown")) if isinstance(answer, dict) else "unknown"


def hub_models(*, timeout_s: float = TIMEOUT_S) -> list[HubModel]:
    """Return the models on the hub that are tagged as hypergene's, by name; at most `MOST`.

    Raises
    ------
    HubOutOfReachError
        No answer.
    TokenError
        The hub does not know the token.
    ModelError
        The hub refuses, or answers something else.
    """
    wanted = ("cardData", "tags", "gated", "private", "usedStorage")
    question = [("filter", TAG), ("limit", str(MOST)), *(("expand", name) for name in wanted)]
    answer = ask_hub("/api/models", question, timeout_s=timeout_s)
    if not isinstance(answer, list):
        raise ModelError("The hub's list of models is no list.", hint=_WHICH_HUB)
    found = [_read(row) for row in answer if isinstance(row, dict) and "id" in row]
    return sorted(found, key=lambda model: model.repository)


def _read(row: Mapping[str, Any]) -> HubModel:
    """Take from a row what can be shown: anyone may tag a repository, and write what they like."""
    card = row.get("cardData")
    about = card.get(TAG) if isinstance(card, dict) else None
    tags = row.get("tags")
    licences = [
        tag.removeprefix("license:")
        for tag in (tags if isinstance(tags, list) else ())
        if isinstance(tag, str) and tag.startswith("license:")
    ]
    size = row.get("usedStorage")
    return HubModel(
        repository=plain(str(row["id"])),
        licence=plain(licences[0]) if licences else "",
        about=about if isinstance(about, dict) else {},
        size_bytes=size if isinstance(size, int) else None,
        gated=bool(row.get("gated")),
        private=bool(row.get("private")),
    )


def plain(text: str) -> str:
    """Keep a stranger's text from steering the terminal: printable, on one line, not too long."""
    return re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()[:120]
