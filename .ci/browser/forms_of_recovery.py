"""The forms of comparisons and of the recovery: listings, findings, batches, evidence, checks and attestations."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import expect

from form_desk import NotOffered, at, form
from forms_of_customers import source

COMPARISON = "incident/comparison.html.hbs"
RECOVERY = "incident/recovery.html.hbs"


def file_of(text):
    return {"name": "listing.csv", "mimeType": "text/csv", "buffer": text.encode()}


def compared(d, title, expected="savanna,5\n", observed="other,5\n", run=True, observed_format="csv"):
    """An incident with a comparison of projects by their size. Returns the number and the page of the comparison."""
    n = d.number(title, [])
    body = {
        "name": title, "resource": {"type": "project"}, "key": "id", "compare": ["size"],
        "expected": {"format": "csv"}, "observed": {"format": observed_format},
    }
    id = d.call("POST", f"/incidents/{d.of(n)['id']}/comparisons", body)["id"]
    for side, rows in [("expected", expected), ("observed", observed)]:
        if rows:
            d.call("PUT", f"/comparisons/{id}/{side}", f"id,size\n{rows}".encode(), media="text/csv")
    if run:
        d.call("POST", f"/comparisons/{id}/run", {})
    return n, f"/admin/incidents/{n}/comparisons/{id}"


def discarded(d, page):
    d.call("DELETE", f"/comparisons/{page.rsplit('/', 1)[1]}")


@contextmanager
def served(text):
    """The URL of a listing on a server of its own."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/csv")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/listing.csv"
    finally:
        server.shutdown()
        server.server_close()


@form("/incidents/{id}/comparisons")
def a_comparison_is_created(d):
    path = f"/admin/incidents/{d.number('Compared')}/comparisons"
    d.open(path)
    typed = {
        "name": "", "expected.format": "csv", "observed.format": "csv", "key": "id", "compare": "size", "resource.type": "project",
        "expected.gone": "gone", "observed.mapping": "size", "observed.manifest": "{",
    }
    d.refused(at(path), typed, "must be a column, an equals sign and values", at="expected.gone")
    d.says_at("observed.mapping", "two names with an equals sign", at(path))
    d.says_at("observed.manifest", "the manifest is not valid", at(path))
    typed = {"expected.gone": "", "observed.mapping": "", "observed.manifest": ""}
    d.refused(at(path), typed, "must not be empty", at="name")
    d.accepted(at(path), {"name": "Stored projects"}, "The comparison is created. Upload both listings.", "Upload the listing")


@form("/incidents/{id}/comparisons/{comparison}/listing", template=COMPARISON)
def a_listing_is_uploaded(d):
    _, page = compared(d, "Uploaded", None, None, run=False)
    d.open(page)
    expected = f'form[action="{page}/listing"]:has([value="expected"])'
    observed = f'form[action="{page}/listing"]:has([value="observed"])'
    d.refused(expected, {}, "choose a file", kept=False)
    d.refused(expected, {"file": file_of("name,weight\nsavanna,5\n")}, "id", kept=False)
    d.refused(expected, {"file": file_of("id,size\nsavanna,5\n"), "observed_at": "2060-01-01T00:00"}, "future", kept=False)
    d.accepted(expected, {"file": file_of("id,size\nsavanna,5\n")}, "The expected listing is uploaded: 1 row.", "1 row, observed")
    d.accepted(observed, {"file": file_of("id,size\nother,5\n")}, "The observed listing is uploaded: 1 row.", "Compare")


@form("/incidents/{id}/comparisons/{comparison}/run", template=COMPARISON)
def listings_are_compared(d):
    _, page = compared(d, "Run", run=False)
    d.open(page)
    late = d.tab(page)
    d.accepted(at(f"{page}/run"), {}, "The listings are compared: 0 equal, 1 missing, 0 different.", "Compare again")
    discarded(d, page)
    d.stale(late, at(f"{page}/run"), "comparison")


@form("/incidents/{id}/comparisons/{comparison}/apply", f"{COMPARISON}: ", template=(COMPARISON,) * 2)
def findings_are_applied(d):
    n, page = compared(d, "Applied")
    search, apply = f'form[method=get][action="{page}#apply"]', at(f"{page}/apply")
    # Nothing is chosen, so nothing is shown.
    d.open(page)
    d.press(d.fill_where(search, {"missing": False}))
    expect(d.page.locator(apply)).to_have_count(0)
    d.press(d.fill_where(search, {"missing": True}))
    late = d.tab(d.page.url)
    d.accepted(apply, {}, "1 became affected.", "Its findings are the evidence")
    # A newer listing arrives, so the findings of the older tab are stale.
    d.call("PUT", f"/comparisons/{page.rsplit('/', 1)[1]}/observed", b"id,size\nsavanna,5\n", media="text/csv")
    d.stale(late, apply, "run the comparison first")
    assert d.items(f"/incidents/{d.of(n)['id']}/affected"), "nothing is affected"


@form("/incidents/{id}/comparisons/{comparison}/discard", template="ask.html.hbs")
def a_comparison_is_discarded(d):
    _, page = compared(d, "Discarded")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/discard", "Nothing became affected through it", "The comparison is discarded.")
    d.stale(late, at(f"{page}/discard"), "comparison")


@form("/incidents/{id}/comparisons/{comparison}/fetch")
def a_listing_is_downloaded(d):
    _, page = compared(d, "Downloaded", observed=None, run=False)
    path = f"{page}/fetch"
    d.open(path)
    typed = {"side": "observed", "url": "ftp://x", "observed_at": "2026-11-20T10:00", "time_zone": "Nairobi"}
    d.refused(at(path), typed, "Nairobi", at="time_zone")
    d.refused(at(path), {"time_zone": "UTC"}, "http", at="url")
    d.refused(at(path), {"side": NotOffered("both")}, "must be one of the two listings", at="side", kept=False)
    with served("id,size\nsavanna,5\n") as url:
        d.accepted(at(path), {"side": "observed", "url": url}, "The listing is stored: 1 row.", "Compare")


@form("/incidents/{id}/comparisons/{comparison}/query")
def a_listing_is_read_from_a_database(d):
    source(d, "compared")
    _, page = compared(d, "Queried", observed=None, run=False, observed_format="ndjson")
    path = f"{page}/query"
    d.open(path)
    typed = {"side": "observed", "source": "nobody", "sql": "SELECT id, 5 AS size FROM users"}
    d.refused(at(path), typed, "is not the name of a source", at="source")
    d.refused(at(path), {"source": "compared", "sql": "SELECT id FROM nowhere"}, "nowhere", at="sql")
    d.accepted(at(path), {"sql": "SELECT id, 5 AS size FROM users"}, "The listing is stored:", "Compare")



def affected(d, title, state=None):
    """An incident that affects a project and two files. With a state, the project is in it. Returns the number and the page."""
    n = d.number(title, [("project", "savanna"), ("file", "m9-v1"), ("file", "m9-v2")])
    if state:
        body = {"state": state, "resources": [{"type": "project", "id": "savanna"}]}
        d.call("POST", f"/incidents/{d.of(n)['id']}/recovery", body)
    return n, f"/admin/incidents/{n}/recovery"


@form("/incidents/{id}/recovery")
def a_batch_begins_and_fails(d):
    _, page = affected(d, "A batch")
    form = f'form.edit[action="{page}"]:has([name="resources"])'
    d.open(page)
    d.refused(form, {"resources": "savanna", "name": "first"}, "must be a type and an ID", at="resources")
    d.refused(form, {"resources": "project stage"}, "not affected", at="resources")
    d.accepted(form, {"resources": "project savanna", "name": "first"}, "The recovery of 1 resource began.", "recovering")
    d.accepted(form, {"resources": "project savanna", "state": "impaired"}, "The recovery of 1 resource failed.")


@form("/incidents/{id}/recovery/selector", f"{RECOVERY}: selector", template=(RECOVERY,) * 4)
def a_batch_is_found_by_a_filter(d):
    n, page = affected(d, "A found batch")
    where = lambda what: f'details.ask form[action="{page}/selector"]:has([value="{what}"])'
    d.searched(page, "selector", "(type:file", "character")
    d.searched(page, "selector", "type:media", "It finds no affected resource.")
    d.searched(page, "selector", "type:file", "2 resources")
    begin, failed, attest = (d.tab(f"{page}?selector=type%3Afile") for _ in range(3))
    d.accepted(where("recovering"), {"name": "found"}, "The recovery of 2 resources began.", again=False)
    d.open(f"{page}?selector=type%3Afile")
    d.accepted(where("impaired"), {"name": "found"}, "The recovery of 2 resources failed.", again=False)
    d.open(f"{page}?selector=type%3Afile")
    d.accepted(where("attest"), {"reason": "Opened both of them"}, "Another person must confirm that 2 resources are recovered.", "Opened both of them")
    # They are removed from the incident meanwhile.
    files = {"resources": [{"type": "file", "id": id} for id in ("m9-v1", "m9-v2")]}
    d.call("POST", f"/incidents/{d.of(n)['id']}/affected/remove", files)
    d.stale(begin, where("recovering"), "finds no affected resource")
    d.stale(failed, where("impaired"), "finds no affected resource")
    attest.locator('details.ask input[name="reason"]').evaluate("one => { one.value = 'Opened' }")
    d.stale(attest, where("attest"), "finds no affected resource")


@form(f"{RECOVERY}: q", template=RECOVERY)
def the_resources_are_searched(d):
    _, page = affected(d, "Searched recovery", "recovering")
    d.searched(page, "q", "nothing of this name", "No resources in this list.")
    d.filtered(page, {"q": "m9-v1"}, "m9-v1", field="q")
    d.filtered(page, {"q": "", "account": "nyota"}, "m9-v2", field="q")


@form("/incidents/{id}/recovery/evidence", template=RECOVERY)
def evidence_is_given(d):
    n, comparison = compared(d, "Evidence")
    d.call("POST", f"/comparisons/{comparison.rsplit('/', 1)[1]}/apply", {"kinds": ["missing"]})
    page = f"/admin/incidents/{n}/recovery"
    form = at(f"{page}/evidence")
    d.open(page)
    d.refused(form, {"text": ""}, "Choose a file with evidence, or paste its lines.", at=None)
    d.refused(form, {"text": "savanna is fine"}, "the first line has no column 'type'", at=None)
    line = '{{"type": "project", "id": "savanna", "size": {size}, "observed_at": "{at}", "source": "by hand"}}'
    # It was observed before the comparison, so it counts for nothing. The page says which line.
    answer = d.press(d.fill_at(f"{page}/evidence", {"text": line.format(size=5, at="2024-04-20T10:00:00Z")}))
    assert answer.ok, answer.status
    expect(d.page.get_by_role("alert")).to_contain_text("1 line was refused")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    d.accepted(form, {"text": line.format(size=5, at=now)}, "1 resource is recovered.", "recovered")


@form("/incidents/{id}/recovery/check")
def a_check_is_taken_as_evidence(d):
    d.hook.status = 200
    body = {
        "name": "The project answers", "url": d.hook.url, "every_seconds": 10, "resources": [{"type": "project", "id": "savanna"}],
    }
    check = d.call("POST", "/checks", body)["id"]
    _, page = affected(d, "A check", "recovering")
    d.until("the check to pass", lambda: d.call("GET", f"/checks/{check}").get("state") == "up")
    form = at(f"{page}/check")
    d.open(page)
    d.refused(form, {"check": check, "resources": "file m9-v1 x y"}, "", at="resources")
    d.refused(form, {"check": check, "resources": "project stage"}, "not affected", at="resources")
    d.until("a pass after the impairment", lambda: passed(d, page, form, check))


def passed(d, page, form, check):
    """Takes the check as evidence. It must have passed after the recovery began."""
    d.open(page)
    answer = d.press(d.fill_where(form, {"check": check, "resources": "project savanna"}))
    return answer.ok and d.page.get_by_text("1 resource is recovered.").count() > 0


@form("/incidents/{id}/recovery/attest", "/incidents/{id}/recovery/attestations/{attestation}/confirm", "/incidents/{id}/recovery/attestations/{attestation}/withdraw", template=("form.html.hbs", "ask.html.hbs", "ask.html.hbs"))
def two_people_attest(d):
    n, page = affected(d, "Attested", "recovering")
    form = at(f"{page}/attest")
    d.open(page)
    d.refused(form, {"resources": "project savanna", "reason": ""}, "must not be empty", at="reason")
    d.refused(form, {"resources": "project stage", "reason": "Opened it"}, "not affected", at="resources")
    d.accepted(form, {"resources": "project savanna", "reason": "Opened it"}, "Another person must confirm that 1 resource is recovered.", "Opened it")
    own = attestation(d, n)
    # The person who asked cannot confirm.
    d.stale(d.tab(page), at(f"{page}/attestations/{own}/confirm"), "another person must confirm", status=(422,))
    late = d.tab(page)
    d.open(page)
    d.asked(f"{page}/attestations/{own}/withdraw", "Nothing becomes recovered by it.", "The attestation is withdrawn.")
    d.stale(late, at(f"{page}/attestations/{own}/withdraw"), "withdrawn")
    body = {"resources": [{"type": "project", "id": "savanna"}], "reason": "Opened it with the customer"}
    d.call("POST", f"/incidents/{d.of(n)['id']}/recovery/attest", body)
    other = attestation(d, n)
    d.open(page)
    d.asked(f"{page}/attestations/{other}/confirm", "Confirm only what you know yourself.", "1 resource is recovered, as attested.", "attested")


def attestation(d, n):
    return d.call("GET", f"/incidents/{d.of(n)['id']}/recovery")["open_attestations"][0]["id"]


@form("/notices/{id}/acknowledge", template="notice/impaired.html.hbs")
def a_resolution_acknowledges_what_is_not_restored(d):
    n = d.told("Acknowledged")
    incident = d.of(n)
    body = {"state": "recovering", "resources": [{"type": "project", "id": "savanna"}]}
    d.call("POST", f"/incidents/{incident['id']}/recovery", body)
    d.call("POST", f"/incidents/{incident['id']}/status", {"status": "resolved"})
    draft = {"phase": "resolution", "message": "It is over.", "customer_action": {"required": False}}
    page = "/admin/notices/" + d.call("POST", f"/incidents/{incident['id']}/notices", draft)["id"]
    d.open(page)
    late = d.tab(page)
    form = at(f"{page}/acknowledge")
    d.accepted(form, {"acknowledge_impaired": True}, "say so now. Check them.", "The emails to them say so.")
    d.accepted(form, {"acknowledge_impaired": False}, "The resolution is not sent to people", "it cannot be sent yet")
    d.call("DELETE", f"/notices/{page.rsplit('/', 1)[1]}")
    d.stale(late, form, "notice")
