"""River's Phishing as visits to five sites, one a minute; a quarter has no verdict. Clicks are synthetic."""

from dataclasses import dataclass

import orjson
from river import datasets

from flows import Outgoing, iso

START, SECOND = 1_740_787_200_000, 1000  # 1 March 2025, and a second, in milliseconds
COLUMNS = ("empty_server_form_handler", "popup_window", "https", "request_from_other_domain")


@dataclass
class Visits:
    """Records in event-time order."""

    events: int
    records: list[Outgoing]

    def __len__(self):
        return len(self.records)

    def __iter__(self):
        return iter(self.records)


def records(events=None):
    """Return the first `events` visits (default: 500) with a click before each, and most of the verdicts."""
    out = []
    rows = list(datasets.Phishing().take(events or 500))
    for number, (row, phishing) in enumerate(rows):
        at, site = START + number * 60 * SECOND, f"site-{number % 5}"
        click = {"click_id": f"click-{number}", "site": site, "seconds": number * 7 % 31}
        visit = {"visit_id": f"visit-{number}", "site": site, "popular": str(row["is_popular"])}
        visit |= {"ip": row["ip_in_url"] == 1, **{name: row[name] for name in COLUMNS}}
        referrer = ("mail", "search", "link")[number % 3]
        out.append(record("clicks", at - 20 * SECOND, click | {"referrer": referrer}))
        out.append(record("visits", at, visit))
        if number % 4:
            verdict = {"visit_id": f"visit-{number}", "phishing": bool(phishing)}
            out.append(record("verdicts", at + 20 * SECOND, verdict))
    return Visits(len(rows), sorted(out, key=lambda record: record.timestamp))


def record(topic, time, payload):
    """Return a record with this time, whose key is its id."""
    key = next(iter(payload.values()))
    return Outgoing(topic, orjson.dumps({**payload, "at": iso(time)}), key.encode(), timestamp=time)
