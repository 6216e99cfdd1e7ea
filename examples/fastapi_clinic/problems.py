"""What an error becomes: an answer with a stable word, and a line in the log with the same word.

Neither repeats what was sent: FastAPI's own answer to a bad request shows the input, and the text of a
database's error often shows the value that it is about.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
)
from starlette.exceptions import HTTPException

from sealwire.examples.fastapi_clinic.records import NotThereError

LOG: Final = logging.getLogger("clinic")


def answer(status: HTTPStatus, problem: str, detail: str, **more: object) -> JSONResponse:
    """Shape:   {"problem": a word for programs, "detail": a sentence for people, ...}"""
    return JSONResponse({"problem": problem, "detail": detail, **more}, status)


def handle_problems(app: FastAPI) -> None:
    """Give `app` an answer for each error that its routes let through."""
    app.add_exception_handler(RequestValidationError, _of(_not_valid))
    app.add_exception_handler(HTTPException, _of(_of_the_framework))
    app.add_exception_handler(NotThereError, _of(_not_there))
    app.add_exception_handler(PyMongoError, _of(_of_the_database))
    app.middleware("http")(_unexpected)


def _of(answered: Callable[[Exception], JSONResponse]) -> Callable[[Request, Exception], JSONResponse]:
    def handler(request: Request, error: Exception) -> JSONResponse:
        made = answered(error)
        route = request.scope.get("route")
        # the route's pattern, not the path: what somebody wrote into a path is not for the log
        LOG.info(
            "%s %s: %d %s",
            request.method,
            getattr(route, "path", "-"),
            made.status_code,
            type(error).__name__,
        )
        return made

    return handler


def _not_valid(error: Exception) -> JSONResponse:
    # where and what kind of fault; a key that nobody declared may itself be a value
    found = error.errors() if isinstance(error, RequestValidationError) else []
    faults = [
        {"where": [] if fault["type"] == "extra_forbidden" else list(fault["loc"]), "fault": fault["type"]}
        for fault in found
    ]
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "not-valid", "the request is not valid", faults=faults)


def _of_the_framework(error: Exception) -> JSONResponse:
    status = HTTPStatus(error.status_code if isinstance(error, HTTPException) else 500)
    return answer(status, status.phrase.lower().replace(" ", "-"), status.description)


def _not_there(error: Exception) -> JSONResponse:
    return answer(HTTPStatus.NOT_FOUND, "not-there", str(error))


def _of_the_database(error: Exception) -> JSONResponse:
    if isinstance(error, DuplicateKeyError):
        fields = sorted((error.details or {}).get("keyPattern", {}))
        return answer(HTTPStatus.CONFLICT, "known-already", "another patient has this", fields=fields)
    if isinstance(error, ConnectionFailure | ExecutionTimeout):
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, "no-database", "the database does not answer")
    code = error.code if isinstance(error, OperationFailure) else None
    LOG.error("the database answered with an error: code %s", code)
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "database", "the database refused", code=code)


async def _unexpected(request: Request, goes_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Any other error: a web server would write its text into the log, and that may hold values."""
    try:
        return await goes_on(request)
    except Exception as error:  # noqa: BLE001 - nothing is behind this but the web server
        frame = traceback.extract_tb(error.__traceback__)[-1]
        # not LOG.exception: it would write the text of the error
        LOG.error(  # noqa: TRY400
            "unexpected %s in %s, line %s", type(error).__name__, frame.name, frame.lineno
        )
        return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "unexpected", "the service has a fault")
