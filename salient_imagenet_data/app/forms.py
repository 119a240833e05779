"""The fields of a form that was sent, and a token that only our own pages know."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qsl

from starlette.requests import Request

from salient_imagenet_data.errors import SalientError


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form as browsers send it without files; the last of several with one name. Raises SalientError
    for a body that is none."""
    try:
        text = (await request.body()).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=50))
    except ValueError as error:
        raise SalientError("not a form", expected="fields as browsers send them", got=str(error)[:100]) from error


def token_for(secret: str, name: str) -> str:
    """What a form of one person must hold: other sites cannot read it, and it is nobody else's."""
    return hmac.new(secret.encode(), name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_token(given: str, secret: str, name: str) -> bool:
    """Whether it is that."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token_for(secret, name).encode())
