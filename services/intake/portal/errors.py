"""What went wrong, as a page for people where they are on one, else as problem+json."""

from fastapi import FastAPI, Request
from fastapi.responses import Response

from services.intake.portal.site import Site
from services.intake.portal.views import N_
from services.intake.texts import languages
from shared.runtime.web import ProblemError

_SAID = {
    411: N_("Your browser sent the form in a way that cannot be read."),
    413: N_("This is too large. Send fewer or smaller documents at once."),
    415: N_("Your browser sent the form in a way that cannot be read."),
    503: N_("We cannot do this right now. Try again in a moment."),
}
_ELSE = N_("The form was broken on its way. Send it once more.")


def add(app: FastAPI, site: Site) -> None:
    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        tag = request.url.path.split("/")[1]
        language = languages().get(tag)
        if language is None or request.url.path.endswith("/check"):
            return error.response()
        text = language.text(_SAID.get(error.status, _ELSE))
        return site.page("error.jinja", language, "/", error.status, text=text)
