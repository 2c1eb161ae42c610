"""The hub's client: imported when it is first used, without telemetry, its errors turned into ours.

Knows what the client raises and what to do about it, nothing of models or files.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mamtra_cli.config import reason
from mamtra_cli.errors import HubError, MamtraError, ModelNotFoundError
from mamtra_cli.hub_guard import install, misunderstood, shown


def client() -> Any:
    """Import the hub client, without telemetry and chatter."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    import huggingface_hub

    install(huggingface_hub)
    return huggingface_hub


def url_of(repo: str) -> str:
    """Return the address of a repository on the hub in use."""
    return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{repo}"


@contextmanager
def hub_errors(repo: str, revision: str | None) -> Iterator[None]:
    """Turn errors of the hub client into ours, each with what to do."""
    from huggingface_hub import errors as known

    at = f"{repo}@{revision}" if revision else repo
    login = "set `HF_TOKEN`, or log in with `hf auth login`"
    try:
        yield
    except known.GatedRepoError as error:
        hint = f"ask for access at {url_of(repo)}, then {login}"
        raise HubError(f"`{repo}` is gated", hint) from error
    except known.RepositoryNotFoundError as error:
        if _status(error) == 401 and os.environ.get("HF_TOKEN"):
            raise HubError(f"the hub refused the token for `{repo}`", login) from error
        raise ModelNotFoundError(
            f"there is no model `{repo}`, neither a folder nor on the hub",
            f"if it is private, {login}",
        ) from error
    except known.RevisionNotFoundError as error:
        raise ModelNotFoundError(f"`{repo}` has no revision `{revision}`") from error
    except known.OfflineModeIsEnabled as error:
        raise HubError("offline mode is on", "unset `HF_HUB_OFFLINE`") from error
    except known.LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, known.HfHubHTTPError):
            raise _refused(error.__cause__, repo, login) from error
        raise HubError(
            f"`{at}` is not in the cache, and the hub cannot be reached",
            "check the connection, or unset `HF_HUB_OFFLINE`",
        ) from error
    except known.HFValidationError as error:
        raise HubError(f"`{repo}` is no repository name", "write it as org/name") from error
    except known.LocalTokenNotFoundError as error:
        raise HubError(f"nobody is logged in to push to `{repo}`", login) from error
    except known.HfHubHTTPError as error:
        raise _refused(error, repo, login) from error
    except OSError as error:
        raise HubError(f"cannot transfer `{at}`: {reason(error)}") from error
    except (MamtraError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        # The client's transport is httpx in 1.x and httpx2 in 2.x: known by where it comes from.
        if type(error).__module__.startswith(("httpx", "httpcore")):
            said = reason(error) or type(error).__name__
            raise HubError(
                f"the hub cannot be reached: {said}", "check the connection and `HF_ENDPOINT`"
            ) from error
        # The client takes answers for what they should be; what follows from others is not ours.
        raise misunderstood() from error


def _status(error: Any) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _refused(error: Exception, repo: str, login: str) -> HubError:
    """Return the error for a refused request, by its status."""
    status = _status(error)
    if status == 401:
        return HubError(f"the hub wants a login for `{repo}`", login)
    if status == 403:
        asked = getattr(getattr(error, "response", None), "_request", None)
        method = getattr(asked, "method", "GET")
        verb, right = ("read", "read") if method in ("GET", "HEAD") else ("write to", "write")
        return HubError(f"this login may not {verb} `{repo}`", f"use a token with {right} access")
    if status == 412:
        return HubError(f"`{repo}` changed during the upload", "run the same command again")
    if status == 429:
        return HubError("the hub is busy (429): too many requests", "try again in some minutes")
    if status >= 500:
        return HubError(f"the hub has a fault of its own (status {status})", "try again later")
    said = shown(str(getattr(error, "server_message", "") or "").strip()) or f"status {status}"
    hint = "check the name and the revision" if status == 400 else "try again later"
    return HubError(f"the hub refused the request for `{repo}`: {said}", hint)
