"""The Hugging Face hub: within reach or not, and whether its token is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hypergene.errors import HypergeneError
from hypergene.pipeline.doctor.finding import Finding
from hypergene.zoo.hub_api import HubOutOfReachError, TokenError, account, ask_hub

TIMEOUT_S: Final = 4.0


def check_hub(*, offline: bool) -> Iterator[Finding]:
    """Ask the hub one question with a short time limit, and one more if there is a token.

    Parameters
    ----------
    offline
        Ask nothing, and say what is set.
    """
    from huggingface_hub import constants, get_token

    hub, token = constants.ENDPOINT, bool(get_token())
    facts = {"address": hub, "offline": bool(constants.HF_HUB_OFFLINE), "token": token}
    without = "The bundled model, model folders and what is cached need no network."
    if offline or constants.HF_HUB_OFFLINE:
        why = "--offline was given" if offline else "HF_HUB_OFFLINE is set"
        told = f"The hub is not asked, for {why}. {without}"
        yield Finding("hub", "reach", "pass", told, facts=facts)
        return
    try:
        ask_hub("/api/models", [("limit", "1")], with_token=False, timeout_s=TIMEOUT_S)
    except HubOutOfReachError as error:
        yield Finding(
            *("hub", "reach", "warn", f"{error.message} {without}"),
            fix=error.hint or "",
            facts=facts | {"reached": False},
        )
        return
    except HypergeneError as error:
        yield Finding(
            *("hub", "reach", "warn", error.message),
            fix=error.hint or "",
            facts=facts | {"reached": False},
        )
        return
    reached = facts | {"reached": True}
    yield Finding("hub", "reach", "pass", f"The hub answers at {hub}.", facts=reached)
    yield _token(given=token)


def _token(*, given: bool) -> Finding:
    if not given:
        told = "No access token is given: only gated encoders and private models need one."
        return Finding("hub", "token", "pass", told, facts={"valid": None})
    try:
        name = account(timeout_s=TIMEOUT_S)
    except TokenError as error:
        return Finding(
            *("hub", "token", "fail", error.message),
            fix=f"With a wrong token even public models are refused. {error.hint}",
            facts={"valid": False},
        )
    except HypergeneError as error:
        told = f"The token could not be tried: {error.message}"
        return Finding("hub", "token", "warn", told, fix="Try again.", facts={"valid": None})
    told = f"The access token is that of {name}."
    return Finding("hub", "token", "pass", told, facts={"valid": True, "account": name})
