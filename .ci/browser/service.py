"""A Candor service for one test, its mail server, and calls to its API."""

import json
import os
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ADMIN = "candor-admin-token-of-the-browser"
HOSTILE = "<img src=x onerror=alert(1)> & \"quotes\" 'n' {{this}}"
RIGHT_TO_LEFT = "\u0639\u0628\u062f \u0627\u0644\u0631\u062d\u0645\u0646"


# What a service needs for backups and for emergency notices.
KEEPING = {
    "CANDOR_BACKUP_DIR": "backups", "CANDOR_BACKUP_KEEP": "1", "CANDOR_BACKUP_SCHEDULE": "off",
    "CANDOR_CONTACTS_FILE": "contacts.enc", "CANDOR_CONTACTS_KEY": "k" * 44, "CANDOR_CONTACTS_SCHEDULE": "* * * * *",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class MailServer:
    """Accepts every email, except those to refused addresses. `pause` is the time that each one takes."""

    def __init__(self, pause=0.0, refused=()):
        self.pause, self.refused, self.mails = pause, refused, []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with client, client.makefile("rb") as lines:
            def say(text):
                client.sendall(text.encode() + b"\r\n")
            try:
                say("220 mail.example")
                to = []
                for line in lines:
                    word = line.strip().upper()
                    if word.startswith((b"EHLO", b"HELO")):
                        say("250 mail.example")
                    elif word.startswith(b"RCPT"):
                        address = line.split(b"<")[1].split(b">")[0].decode()
                        if address in self.refused:
                            say("550 5.1.1 no such mailbox")
                            continue
                        to.append(address)
                        say("250 OK")
                    elif word.startswith(b"DATA"):
                        say("354 go on")
                        text = []
                        for part in lines:
                            if part == b".\r\n":
                                break
                            text.append(part)
                        time.sleep(self.pause)
                        self.mails.append((to, b"".join(text).decode("utf-8", "replace")))
                        to = []
                        say("250 OK")
                    elif word.startswith(b"QUIT"):
                        say("221 bye")
                        return
                    else:
                        say("250 OK")
            except OSError:
                pass

    def recipients(self):
        return sorted(address for to, _ in self.mails for address in to)

    def close(self):
        self.socket.close()


class Service:
    """A running `candor serve` on SQLite in a folder of its own."""

    def __init__(self, program, mail=None, **settings):
        self.folder = tempfile.TemporaryDirectory()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            # The templates may be read from the disk, so that they can be tested without a new build.
            name: value for name, value in os.environ.items() if not name.startswith("CANDOR_") or name == "CANDOR_TEMPLATES_FROM_DISK"
        }
        environment |= {
            "CANDOR_LISTEN": f"127.0.0.1:{self.port}",
            "CANDOR_ADMIN_TOKEN": ADMIN,
            "CANDOR_DATABASE_URL": "sqlite://candor.db",
            "CANDOR_MAIL_FROM": "Nyota Support <support@nyota.example>",
        }
        if mail:
            environment["CANDOR_SMTP_URL"] = f"smtp://127.0.0.1:{mail.port}?tls=none"
        environment |= {name: str(value) for name, value in settings.items()}
        # The commands of the program can be run beside the service.
        self.program, self.environment = program, environment
        self.log = open(os.path.join(self.folder.name, "candor.log"), "w+b")
        self.process = subprocess.Popen(
            [program, "serve"], cwd=self.folder.name, env=environment, stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/readyz").close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"candor does not start: {self.logged()}") from None
                time.sleep(0.05)

    def logged(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")[-4000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
        self.folder.cleanup()

    def call(self, method, path, body=None, token=ADMIN, media="application/json"):
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        url = path if path.startswith("http") else f"{self.url}{path}"
        request = urllib.request.Request(url, data=data, method=method)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        if data is not None:
            request.add_header("Content-Type", media)
        try:
            with urllib.request.urlopen(request) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from None

    def token(self, role, name=None):
        return self.call("POST", "/api/v1/tokens", {"name": name or f"the {role}", "role": role})["token"]

    def load(self, rows):
        """Imports rows of the directory."""
        lines = "\n".join(json.dumps(row) for row in rows)
        self.call("POST", "/api/v1/directory/import", lines.encode(), media="application/x-ndjson")

    def story(self):
        """The directory of the file-access incident."""
        file = {"kind": "resource", "type": "file", "labels": {"provider": "s3"}}
        self.load([
            {"kind": "account", "id": "nyota", "name": "Nyota Films", "time_zone": "Africa/Nairobi"},
            {"kind": "person", "id": "amina", "name": "Amina", "email": "amina@nyota.example"},
            {"kind": "person", "id": "wanjiru", "name": "Wanjiru", "email": "wanjiru@nyota.example"},
            {"kind": "person", "id": "grace", "name": "Grace", "email": "grace@kilele.example"},
            {"kind": "resource", "type": "project", "id": "savanna", "account": "nyota", "name": "Savanna"},
            {"kind": "resource", "type": "media", "id": "m9", "parent": {"type": "project", "id": "savanna"}, "name": "Interview"},
            file | {"id": "m9-v1", "parent": {"type": "media", "id": "m9"}},
            file | {"id": "m9-v2", "parent": {"type": "media", "id": "m9"}},
            {"kind": "member", "account": "nyota", "person": "amina", "role": "owner"},
            {"kind": "collaborator", "resource": {"type": "project", "id": "savanna"}, "person": "wanjiru", "role": "editor"},
        ])

    def crowd(self, people):
        """One project with this many people."""
        rows = [
            {"kind": "account", "id": "crowd", "name": "Crowd"},
            {"kind": "resource", "type": "project", "id": "stage", "account": "crowd", "name": "Stage"},
        ]
        for n in range(people):
            person = {"kind": "person", "id": f"p{n}", "name": f"Person {n}", "email": f"p{n}@crowd.example"}
            held = {"kind": "member", "account": "crowd", "person": f"p{n}", "role": "owner"}
            rows += [person, held]
        self.load(rows)

    def incident(self, title, affected=(), **more):
        affected = [{"type": kind, "id": name} for kind, name in affected]
        body = {"title": title, "severity": "major", "affected": affected} | more
        return self.call("POST", "/api/v1/incidents", body)

    def draft(self, incident, message="We are working on it.", phase="detection", **more):
        body = {"phase": phase, "message": message} | more
        return self.call("POST", f"/api/v1/incidents/{incident['id']}/notices", body)

    def send(self, notice):
        digest = self.call("GET", f"/api/v1/notices/{notice['id']}/preview")["digest"]
        return self.call("POST", f"/api/v1/notices/{notice['id']}/send", {"digest": digest})

    def hook(self):
        """The URL of an Alertmanager integration that names projects and media."""
        body = {
            "name": "Alertmanager", "source": "alertmanager",
            "resource_rules": [{"field": "annotations.description", "pattern": "/api/projects/(?<project>[^/]+)/media/(?<media>[\\w-]+)"}],
        }
        return self.call("POST", "/api/v1/integrations", body)["hook_url"]

    def alert(self, hook, description="GET /api/projects/savanna/media/m9 answers 500", title="Files cannot be opened"):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        one = {
            "status": "firing", "labels": {"alertname": "FileErrors", "severity": "critical"},
            "annotations": {"summary": title, "description": description},
            "startsAt": now, "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "c0ffee0000000001",
        }
        body = {"version": "4", "groupKey": "{}:{alertname=\"FileErrors\"}", "status": "firing", "receiver": "candor", "alerts": [one]}
        return self.call("POST", hook, body, token=None)["opened"][0]

    def emergency_notice(self, subject, message):
        """Sends a message to Nyota Films without the database, and returns the record of it."""
        folder = Path(self.folder.name)
        folder.joinpath("message.txt").write_text(message)
        command = [
            self.program, "emergency-notify", "--contacts", "contacts.enc", "--accounts", "nyota", "--subject", subject,
            "--message", "message.txt", "--record", "emergency.ndjson",
        ]

        def said(*more):
            return subprocess.run([*command, *more], cwd=folder, env=self.environment, capture_output=True, text=True)

        # The copy of the contacts is refreshed every minute.
        deadline = time.monotonic() + 90
        while "amina@nyota.example" not in said("--dry-run").stdout:
            assert time.monotonic() < deadline, said("--dry-run").stderr
            time.sleep(1)
        sent = said()
        assert sent.returncode == 0, sent.stderr
        return folder.joinpath("emergency.ndjson").read_bytes()
