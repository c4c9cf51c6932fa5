"""The citizens' pages: find a service, apply once, follow the case."""

from fastapi import FastAPI

from services.intake.clerks import Tokens
from services.intake.portal import apply, counter, documents, errors, finding, follow, pdfs
from services.intake.portal.apply import Shop
from services.intake.portal.counter import is_clerk
from services.intake.portal.follow import Files
from services.intake.portal.site import Site

__all__ = ["Files", "Shop", "Site", "add_routes", "is_clerk"]


def add_routes(app: FastAPI, shop: Shop, files: Files, tokens: Tokens) -> None:
    shop.site.add_files(app)
    errors.add(app, shop.site)
    finding.add_routes(app, shop.site, shop.catalogue, shop.forms)
    apply.add_routes(app, shop)
    follow.add_routes(app, files)
    documents.add_routes(app, files.secret, files.drafts)
    counter.add_routes(app, shop, tokens)
    pdfs.add_routes(app, shop)
    finding.add_nowhere(app, shop.site)
