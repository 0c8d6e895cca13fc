"""/metrics: control's facts at each scrape, and HTTPS with proof of both sides where it leaves loopback."""

import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from server.monitor.exposition import Certificates, Gauge, expose_metrics
from tests.fakes.certificates import make_authority


def _facts() -> list[Gauge]:
    return [Gauge(name="live_versions", about="Live versions.", labels=("model",), rows=((("churn",), 2.0),))]


def test_a_scrape_shows_the_facts_of_that_moment(tmp_path: Path) -> None:
    exposition = expose_metrics("127.0.0.1:0", tmp_path / "metrics", _facts)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{exposition.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    finally:
        exposition.close()

    assert 'paedsresus_live_versions{model="churn"} 2.0' in text


def test_with_certificates_only_a_scraper_that_has_one_is_answered(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    server, scraper = authority.write("server"), authority.write("scraper")
    certificates = Certificates(certificate=server[0], key=server[1], client_ca=authority.file)
    known = ssl.create_default_context(cafile=str(authority.file))
    known.load_cert_chain(*scraper)
    unknown = ssl.create_default_context(cafile=str(authority.file))

    exposition = expose_metrics("127.0.0.1:0", tmp_path / "metrics", _facts, certificates)
    try:
        address = f"https://127.0.0.1:{exposition.port}/metrics"
        with urllib.request.urlopen(address, timeout=5, context=known) as answer:
            assert answer.status == 200
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            urllib.request.urlopen(address, timeout=5, context=unknown).read()
    finally:
        exposition.close()
