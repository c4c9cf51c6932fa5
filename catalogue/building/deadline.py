"""How long a case may take: the published limit, else the one of the law."""

from collections.abc import Iterator, Mapping

from catalogue.loader import Catalogue

# services.csv, split_review of a chain: each agency's share of the limit, and whether it is so
# only for a certain answer to `newborn`.
_SHARES: Mapping[str, Mapping[str, str]] = {
    "HRO 1 day -> DO 24 days (newborn) or DO 25 days; DOSW tax query about 25 days "
    "(twice a month)": {"-": "1;24;25", "no": "25;25"},
}


def rows(catalogue: Catalogue) -> Iterator[dict[str, str]]:
    yield {
        "id": "D-DEFAULT",
        "service": "-",
        "priority": "0",
        "limit": "2",
        "unit": "month",
        "basis": "CLK-03: S APA art. 51",
        "note": "no published limit",
    }
    for service in catalogue.services.values():
        if service.limit is None or service.limit_unit is None:
            continue
        one = {
            "id": f"D-{service.code.removeprefix('SVC-')}",
            "service": service.code,
            "priority": "10",
            "limit": str(service.limit),
            "unit": service.limit_unit,
            "basis": f"{service.evidence} {service.source}",
            "note": service.note,
        }
        for newborn, steps in _SHARES.get(service.split_review, {"-": ""}).items():
            if newborn == "-":
                yield one | {"steps": steps}
            else:
                answer = {"id": f"{one['id']}.{newborn.upper()}", "priority": "20"}
                yield one | answer | {"newborn": newborn, "steps": steps}
