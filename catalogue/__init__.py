"""The city's data: services, agencies, districts, documents, statuses; loaded and checked."""

from catalogue.loader import Catalogue, CatalogueError, Problem, load_catalogue
from catalogue.rows import Agency, District, Document, Service, Status

__all__ = [
    "Agency",
    "Catalogue",
    "CatalogueError",
    "District",
    "Document",
    "Problem",
    "Service",
    "Status",
    "load_catalogue",
]
