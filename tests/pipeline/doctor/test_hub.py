"""The hub within reach or not, its token known or not: never a hang, always a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.stand_in import TOKEN, StandIn, stand_in
from huggingface_hub import constants

from hypergene.pipeline.doctor import hub as looked_at
from hypergene.pipeline.doctor.hub import check_hub


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in() as served:
        yield served


def levels(*, offline: bool = False) -> dict[str, str]:
    return {found.code: found.level for found in check_hub(offline=offline)}


@pytest.mark.parametrize(
    ("token", "level", "message"),
    [
        (TOKEN, "pass", "that of lab-member"),
        (None, "pass", "only gated encoders and private models need one"),
        ("hf_bad", "fail", "does not know the access token"),
    ],
)
def test_the_token_is_asked_about(
    hub: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    level: str,
    message: str,
) -> None:
    hub.use(monkeypatch, tmp_path, token=token)
    reach, found = check_hub(offline=False)
    assert reach.level == "pass" and hub.url in reach.message
    assert found.level == level and message in found.message
    assert all(secret not in f"{reach}{found}" for secret in (TOKEN, "hf_bad"))


def test_a_silent_hub_is_given_up_on_soon(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.use(monkeypatch, tmp_path, token=TOKEN)
    hub.down = "silent"
    monkeypatch.setattr(looked_at, "TIMEOUT_S", 0.3)
    (found,) = check_hub(offline=False)
    assert found.level == "warn" and "cannot be reached" in found.message
    assert found.facts["reached"] is False


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_hub_that_refuses_is_a_warning(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    hub.use(monkeypatch, tmp_path)
    hub.down = status
    (found,) = check_hub(offline=False)
    assert found.level == "warn" and str(status) in found.message and found.fix


def test_a_hub_that_is_not_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "*")
    assert levels() == {"reach": "warn"}


def test_offline_on_purpose_asks_nothing_and_is_no_warning(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.use(monkeypatch, tmp_path)
    assert levels(offline=True) == {"reach": "pass"}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (found,) = check_hub(offline=False)
    assert found.level == "pass" and "HF_HUB_OFFLINE is set" in found.message
    assert hub.asked == []
