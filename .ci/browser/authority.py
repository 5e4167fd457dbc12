"""An authority for time stamps (RFC 3161), which the program openssl plays."""

import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SETUP = """[ tsa ]
default_tsa = the_tsa
[ the_tsa ]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
certs = ca.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[ req ]
distinguished_name = name
[ name ]
[ ca ]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[ stamps ]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
"""
NEW_KEY = "req -config ts.cnf -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256"


class Authority:
    """Answers with a time stamp, or with an error while `works` is false."""

    def __init__(self):
        self.works, self.lock = True, threading.Lock()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.path.joinpath("ts.cnf").write_text(SETUP)
        self.path.joinpath("serial").write_text("01\n")
        self._openssl(f"{NEW_KEY} -x509 -days 3650 -keyout ca.key -out ca.pem -subj /CN=Authority -extensions ca")
        self._openssl(f"{NEW_KEY} -keyout tsa.key -out tsa.csr -subj /CN=Stamps")
        self._openssl("x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -set_serial 4711 -days 3650 -out tsa.pem -extfile ts.cnf -extensions stamps")
        authority = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                query = self.rfile.read(int(self.headers["content-length"]))
                body = authority.stamp(query) if authority.works else b""
                self.send_response(200 if authority.works else 500)
                self.send_header("content-type", "application/timestamp-reply")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/stamp"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        # The settings of a service that asks this authority.
        self.settings = {
            "CANDOR_AUDIT_TIMESTAMP_URLS": self.url, "CANDOR_AUDIT_TIMESTAMP_ALLOW": "private",
            "CANDOR_AUDIT_TIMESTAMP_CA_FILE": self.path / "ca.pem",
        }

    def _openssl(self, arguments):
        subprocess.run(["openssl", *arguments.split()], cwd=self.path, check=True, capture_output=True)

    def stamp(self, query):
        with self.lock:
            self.path.joinpath("query").write_bytes(query)
            self._openssl("ts -reply -config ts.cnf -queryfile query -out reply")
            return self.path.joinpath("reply").read_bytes()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()
