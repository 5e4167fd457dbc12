"""The notices in a product: a page of another origin with a strict policy loads the script of Candor. And the page "My incidents"."""

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import expect

from browser import pages
from every_page import AXE, RULES
from service import HOSTILE, MailServer, Service
from the_job import until

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'nonce-abc'; connect-src 'self' CANDOR">
<title>Studio</title><script nonce="abc" src="CANDOR/embed.js" data-candor-token-url="/candor-token" defer></script></head>
<body><main><h1>Studio</h1><p><button id="own">A button of the product</button></p></main></body></html>"""


def signed(key, secret, person, seconds=600):
    part = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=")
    claims = {"iss": key, "sub": person, "exp": int(time.time()) + seconds}
    text = b".".join(part(json.dumps(one).encode()) for one in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (text + b"." + part(hmac.new(secret.encode(), text, hashlib.sha256).digest())).decode()


class Product:
    """A product at an origin of its own. `person` is who is signed in, `lasts` for how many seconds a token is valid."""

    def __init__(self, service):
        product = self
        self.person, self.lasts, self.tokens = "amina", 600, 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/candor-token":
                    product.tokens += 1
                    text = json.dumps({"token": signed(product.key, product.secret, product.person, product.lasts)})
                    self.answer(200 if product.person else 401, "application/json", text)
                elif self.path == "/":
                    self.answer(200, "text/html", PAGE.replace("CANDOR", service.url))
                else:
                    self.answer(404, "text/plain", "")

            def answer(self, status, media, text):
                self.send_response(status)
                self.send_header("content-type", media)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        made = service.call("POST", "/api/v1/feed-keys", {"name": "Studio", "origins": [self.url]})
        self.key, self.secret = made["id"], made["secret"]

    def close(self):
        self.server.shutdown()


def no_faults(page, what):
    page.evaluate(AXE)
    found = page.evaluate("rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES)
    faults = [f"{one['id']}: {node['target']}" for one in found["violations"] for node in one["nodes"]]
    assert not faults, f"{what}: {faults}"


def the_notices_are_in_the_product(browser, program, shots):
    mail = MailServer()
    with Service(program, mail) as service:
        service.story()
        incident = service.incident("Files cannot be opened", [("project", "savanna")])
        product = Product(service)
        with pages(browser, service, shots, "embed") as one:
            page = one.page
            page.goto(product.url)
            inbox = page.get_by_role("button", name="Notices", exact=True)
            expect(inbox).to_be_visible()
            banner = page.get_by_role("region", name="Notices from Nyota Support")
            expect(banner).to_have_count(0)
            # A hint brings a notice to the open page. Markup of an operator stays text.
            service.send(service.draft(incident, f"Some files cannot be opened. {HOSTILE}"))
            until("the email", lambda: len(mail.mails) == 2)
            expect(banner).to_be_visible()
            expect(banner).to_contain_text("<img src=x onerror=alert(1)>")
            expect(page.get_by_role("status")).to_have_text(re.compile("New notice: .+"))
            inbox = page.get_by_role("button", name="Notices, unread: 1")
            expect(inbox).to_be_visible()
            no_faults(page, "the banner")
            # By keyboard: open, go round, close, and come back.
            inbox.focus()
            page.keyboard.press("Enter")
            dialog = page.get_by_role("dialog", name="Notices from Nyota Support")
            expect(dialog).to_be_visible()
            expect(dialog.get_by_role("heading", name="Notices from Nyota Support")).to_be_focused()
            no_faults(page, "the dialog")
            inside = "() => { let at = document.activeElement; while (at && at.shadowRoot) at = at.shadowRoot.activeElement; return !!at && !!at.closest('dialog'); }"
            for key in ["Tab"] * 12 + ["Shift+Tab"] * 12:
                page.keyboard.press(key)
                assert page.evaluate(inside), f"{key} left the dialog"
            page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()
            expect(inbox).to_be_focused()
            # Read: the banner goes, and stays away after a reload.
            banner.get_by_role("button", name="Mark all as read").click()
            expect(banner).to_have_count(0)
            page.reload()
            expect(page.get_by_role("button", name="Notices", exact=True)).to_be_visible()
            expect(banner).to_have_count(0)
            # The product opens the page of the person, without a secret in its address.
            page.get_by_role("button", name="Notices", exact=True).click()
            with one.context.expect_page() as opened:
                dialog.get_by_role("button", name="My incidents").click()
            mine = opened.value
            mine.get_by_role("button", name="Show my incidents").click()
            expect(mine.get_by_role("heading", name="What affects you now")).to_be_visible()
            assert mine.url == f"{service.url}/mine", mine.url
            no_faults(mine, "my incidents")
            mine.close()
            # Nobody is signed in any more.
            product.person = None
            page.reload()
            expect(page.get_by_role("heading", name="Studio")).to_be_visible()
            expect(page.get_by_role("button", name=re.compile("Notices"))).to_have_count(0)
        product.close()
    mail.close()


def the_notices_are_dark_and_right_to_left(browser, program, shots):
    mail = MailServer()
    with Service(program, mail) as service:
        service.story()
        service.load([{"kind": "person", "id": "amina", "name": "Amina", "email": "amina@nyota.example", "locale": "ar"}])
        incident = service.incident("Files cannot be opened", [("project", "savanna")])
        service.send(service.draft(incident, "Some files cannot be opened."))
        until("the email", lambda: len(mail.mails) == 2)
        product = Product(service)
        with pages(browser, service, shots, "embed-dark", width=390, dark=True) as one:
            page = one.page
            page.goto(product.url)
            expect(page.get_by_role("region")).to_be_visible()
            assert page.evaluate("[...document.querySelectorAll('body > div')].every(one => one.dir === 'rtl' && one.lang === 'ar')")
            shots.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=shots / "embed-dark-banner.png")
            no_faults(page, "the banner in Arabic")
            page.get_by_role("region").get_by_role("button").first.click()
            expect(page.get_by_role("dialog")).to_be_visible()
            page.screenshot(path=shots / "embed-dark-dialog.png")
            no_faults(page, "the dialog in Arabic")
        product.close()
    mail.close()


def a_token_is_renewed_before_it_expires(browser, program, shots):
    with Service(program) as service:
        service.story()
        product = Product(service)
        # Less than a minute is left, so each request needs another token.
        product.lasts = 30
        with pages(browser, service, shots, "embed-token") as one:
            one.page.goto(product.url)
            expect(one.page.get_by_role("button", name="Notices")).to_be_visible()
            before = product.tokens
            one.page.evaluate("candorNotices.refresh()")
            until("another token", lambda: product.tokens > before)
        product.close()


TESTS = [the_notices_are_in_the_product, the_notices_are_dark_and_right_to_left, a_token_is_renewed_before_it_expires]
