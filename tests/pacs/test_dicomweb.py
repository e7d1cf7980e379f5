"""A DICOMweb server that refuses, is none, or is not there: a sentence."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.pacs.conftest import free_port, radiograph

pytest.importorskip("dicomweb_client")
pytest.importorskip("highdicom")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = self.server.answer if isinstance(self.server.answer, tuple) else self.server.answer(self.path)
        self.server.asked.append(self.headers.get("Authorization"))
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server():
    """A server on loopback that gives `answer` to everything."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.asked = (200, b"[]"), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def detect(cxrcad, toy):
    return lambda url, *words: cxrcad("detect", "--dicomweb", url, "--model", toy, "--device", "cpu", *words)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "answers 401 Unauthorized; it asks for a name and password; write https://NAME:PASSWORD@host/"),
        (403, b"", "answers 403 Forbidden; it does not allow this"),
        (404, b"", "answers 404 Not Found; it has no such study, or DICOMweb stands at another path"),
        (500, b"", "answers 500 Internal Server Error; look into its log"),
        (200, b"<html>a start page</html>", "its answer is no DICOMweb ("),
        (200, b'[{"00080018": {"vr": "UI", "Value": ["../../x"]}}]', "its answer is no DICOMweb ("),
        (
            200,
            b'[{"00080016": {"Value": ["1.2.840.10008.5.1.4.1.1.2"]}}]',
            "study 1.2.3 has 1 object, and no frontal chest radiograph can be among them",
        ),
        (200, b"[]", "has no study 1.2.3; check --study"),
    ],
)
def test_what_a_server_refuses_or_is_not_is_a_sentence(server, detect, status, body, words):
    server.answer = (status, body)
    url = f"http://127.0.0.1:{server.server_port}/dicom-web"
    answer = detect(url, "--study", "1.2.3")
    assert answer.code == 1
    assert f"Error: {url}: {words}" in answer.err or words in answer.err


def test_a_name_and_password_are_sent_and_not_told(server, detect):
    server.answer = (401, b"")
    answer = detect(f"http://somebody:sec%40ret@127.0.0.1:{server.server_port}/dicom-web", "--study", "1.2.3")
    assert base64.b64decode(server.asked[0].removeprefix("Basic ")) == b"somebody:sec@ret"
    assert "ret@" not in answer.err
    assert "somebody" not in answer.err


@pytest.mark.parametrize("heeds", [True, False])
def test_a_server_that_tells_a_part_of_the_instances_at_a_time_is_asked_for_all(server, heeds):
    from cxrcad.pacs.dicomweb import Server

    told = [{"00080018": {"vr": "UI", "Value": [f"1.2.{number}"]}} for number in range(5)]

    def answer(path):
        offset = int(dict(parse_qsl(urlsplit(path).query)).get("offset", 0)) if heeds else 0
        return 200, json.dumps(told[offset : offset + 2]).encode()

    server.answer = answer
    found = Server(f"http://127.0.0.1:{server.server_port}/dicom-web")._instances("1.2.3", None)
    assert found == told[: 5 if heeds else 2]


def test_a_disk_that_is_full_is_not_laid_to_the_server(server, tmp_path, monkeypatch):
    from cxrcad.pacs.dicomweb import Server

    one = Server(f"http://127.0.0.1:{server.server_port}/dicom-web")
    monkeypatch.setattr(one, "_instances", lambda study, series: [{"00080018": {"Value": ["1.2"]}}])
    monkeypatch.setattr(one._client, "retrieve_instance", lambda *names, **options: radiograph(1))
    with pytest.raises(OSError, match="No such file"):
        one.fetch("1.2.3", "1.2", tmp_path / "none")


def test_a_server_that_is_not_there_is_a_sentence(detect):
    answer = detect(f"http://127.0.0.1:{free_port()}/dicom-web", "--study", "1.2.3")
    assert answer.code == 1
    assert "cannot be reached, or breaks off; check that it runs, host and port" in answer.err


def test_tls_that_nobody_vouches_for_is_a_sentence(server, detect, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    answer = detect(f"https://127.0.0.1:{server.server_port}/dicom-web", "--study", "1.2.3")
    assert answer.code == 1
    assert "TLS fails (" in answer.err
    assert "self-signed certificate" in answer.err
    assert "REQUESTS_CA_BUNDLE names a file" in answer.err


@pytest.mark.parametrize(
    ("url", "words", "said"),
    [
        ("ftp://host/x", ("--study", "1.2"), "--dicomweb: is no URL of a server; write https://host/dicom-web"),
        ("http://host/x", (), "--dicomweb: needs the study; give its UID with --study"),
        ("http://host/x", ("--study", "../x"), "--study ../x: is no UID"),
        ("http://host/x", ("--study", "1.2", "--store", "pdf"), "--store pdf: there is no object 'pdf'"),
        ("http://host/x", ("--study", "1.2", "scan.dcm"), "--dicomweb: takes the place of PATHS; leave out one"),
    ],
)
def test_options_that_cannot_be_are_sentences(detect, url, words, said):
    answer = detect(url, *words)
    assert answer.code == 2
    assert said in answer.err


def test_a_study_without_a_server_is_a_sentence(cxrcad):
    answer = cxrcad("detect", "scan.dcm", "--study", "1.2.3")
    assert answer.code == 2
    assert "name it with --dicomweb URL" in answer.err
