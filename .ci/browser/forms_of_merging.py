"""The forms that merge incidents, undo a merge, and split an incident, and the filters as of an earlier time."""

import time

from playwright.sync_api import expect

from form_desk import at, form

MERGE = "incident/merge.html.hbs"
NO_NUMBER = "must be the number of an incident, such as 46"


@form("/incidents/{id}/merge", f"{MERGE}: into", template=(MERGE, MERGE))
def an_incident_is_merged(d):
    n, into, resolved = d.number("Half of a storm"), d.number("A storm"), d.number("A storm of yesterday")
    d.call("POST", f"/incidents/{d.of(resolved)['id']}/status", {"status": "resolved"})
    page = f"/admin/incidents/{n}/merge"
    d.filtered(page, {"into": "the other one", "reason": "One disk"}, NO_NUMBER, refused=True)
    d.filtered(page, {"into": str(n), "reason": "One disk"}, f"incident #{n} cannot be merged into itself", refused=True)
    d.filtered(page, {"into": str(resolved), "reason": ""}, f"incident #{resolved} is resolved and #{n} is not", refused=True)
    d.filtered(page, {"into": f"#{into}", "reason": "One disk"}, f"From then on, these belong to #{into}:")
    merge = f'form[method="post"][action="{page}"]'
    late = d.tab(d.page.url)
    said = f"#{n} \u201cHalf of a storm\u201d is merged into this incident. Customers were not notified by this."
    d.accepted(merge, {}, said, lambda: in_it(d, into, n, "One disk"))
    d.open(f"/admin/incidents/{n}")
    d.shows("takes nothing new")
    d.stale(late, merge, f"incident #{n} is merged into #{into}")


def in_it(d, into, n, reason):
    """The page of an incident lists the one that was merged into it."""
    expect(d.page.get_by_role("heading", name=f"#{into}", exact=False).first).to_be_visible()
    merged = d.page.locator("#merged")
    expect(merged.get_by_role("link", name=f"#{n} ")).to_be_visible()
    expect(merged).to_contain_text(reason)


@form("/incidents/{id}/unmerge", template="ask.html.hbs", never_wrong="It says on the page that nothing was changed.")
def a_merge_is_undone(d):
    n, into = d.number("Merged by mistake"), d.number("Another problem")
    d.call("POST", f"/incidents/{d.of(n)['id']}/merge", {"into": d.of(into)["id"]})
    page, undo = f"/admin/incidents/{into}", f"/admin/incidents/{n}/unmerge"
    d.open(page)
    late = d.tab(page)
    d.asked(undo, f"#{n}", "The merge is undone. This incident is investigating again, with 0 alerts.", "investigating")
    assert d.page.url.endswith(f"/admin/incidents/{n}"), d.page.url
    d.open(page)
    expect(d.page.locator("#merged")).to_have_count(0)
    d.stale(late, at(undo), f"Nothing was changed: incident #{n} is not merged.", status=(200,))


@form("/incidents/merge", template=("merge.html.hbs", "merge.html.hbs"))
def several_incidents_are_merged(d):
    first, second, third = (d.number(f"Alarm {word}") for word in ("one", "two", "three"))
    path = "/admin/incidents/merge"
    choose, merge = f'form[action="{path}"]:has(table)', f'form[action="{path}"]:has([name="step"])'
    boxes = {f"from.{second}": True, f"from.{third}": True}
    d.open(path)
    d.refused(choose, {"into": "none", "reason": "One storm"} | boxes, NO_NUMBER, at=None)
    d.refused(choose, {"into": str(first)} | dict.fromkeys(boxes, False), "choose at least one incident", at=None)
    planned(d, choose, boxes, first)
    late = d.tab(path)
    planned(d, choose, boxes | {"into": str(first)}, first, late)
    said = "2 incidents are merged into this one. Customers were not notified by this."
    d.accepted(merge, {}, said, lambda: in_it(d, first, third, "One storm"))
    # Both of them are merged already. The page says so, and its list has only what is open.
    d.stale(late, merge, f"incident #{second} is merged into #{first}")
    # The page about one incident proposes those that are probably the same problem.
    d.open(f"{path}?into={first}")
    expect(d.page.locator('[name="into"]')).to_have_value(str(first))


def planned(d, choose, typed, into, tab=None):
    """Shows what would move. Nothing is stored by it."""
    before, page = d.written(), tab or d.page
    one = d.find(choose, tab)
    d.fill(one, typed)
    answer = d.press(one, tab=tab)
    assert answer.ok, f"answered {answer.status}: {page.get_by_role('main').inner_text()[:300]}"
    expect(page.get_by_text(f"From then on, these belong to #{into}:")).to_be_visible()
    expect(page.get_by_role("button", name=f"Merge 2 incidents into #{into}")).to_be_visible()
    for name, value in typed.items():
        place = page.locator(f'{choose} [name="{name}"]')
        expect(place).to_be_checked() if value is True else expect(place).to_have_value(value)
    assert d.written() == before, "something was stored"


@form("/incidents/{id}/split", template="incident/split.html.hbs")
def an_incident_is_split(d):
    n = d.alerted("/api/projects/savanna/media/m9", "Two problems at once")
    incident = d.of(n)["id"]
    d.call("POST", f"/incidents/{incident}/affected", {"resources": [{"type": "project", "id": "kilele"}]})
    alert = d.items(f"/alerts?incident={incident}")[0]["id"]
    path = f"/admin/incidents/{n}/split"
    split = at(path)
    d.open(path)
    late, later = d.tab(path), d.tab(path)
    d.refused(split, {"title": "The other problem"}, "list at least one alert or one resource", at=None)
    d.refused(split, {"title": "  ", "resource.project kilele": True}, "must not be empty", at=None)
    # The alert stays in the incident, so what it names is affected in both.
    typed = {"title": "The other problem", "resource.project kilele": True}
    d.accepted(split, typed, f"This incident is split out of #{n}. It has notified nobody yet.", "The other problem")
    new = int(d.page.url.rsplit("/", 1)[1])
    assert [one["resource"]["id"] for one in d.items(f"/incidents/{d.of(new)['id']}/affected")] == ["kilele"]
    d.open(path)
    typed = {"title": "Its alert", f"alert.{alert}": True}
    d.accepted(split, typed, f"This incident is split out of #{n}.", "Two problems at once")
    for tab, field in [(late, f"alert.{alert}"), (later, "resource.project kilele")]:
        d.fill(d.find(split, tab), {"title": "Once more", field: True})
        d.stale(tab, split, "Nothing was changed.")


RESOURCES, NAMED = "incident/resources.html.hbs", "incident/people-named.html.hbs"
TIME = "As of: "


def now():
    """The time of now, with a moment before and after it in which nothing happens."""
    time.sleep(1.1)
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    return text


@form("/incidents/{id}/resources/selector", f"{RESOURCES}: as_of", template=RESOURCES)
def resources_are_added_as_of_a_time(d):
    disk = {"account": "nyota", "labels": {"shelf": "old"}}
    d.call("PUT", "/resources/disk/d1", disk)
    then = now()
    d.call("PUT", "/resources/disk/d1", disk | {"labels": {"shelf": "new"}})
    n = d.number("As of", [])
    page = f"/admin/incidents/{n}/resources"
    typed = {"selector": "type:disk shelf:old"}
    d.filtered(page, typed | {"as_of": "yesterday"}, TIME, field="as_of")
    d.filtered(page, typed | {"as_of": "2026-04-20T10:00"}, TIME, field="as_of")
    d.filtered(page, typed | {"as_of": "2060-01-01T00:00Z"}, "future", field="as_of")
    d.filtered(page, typed | {"as_of": ""}, "shelf", field="as_of")
    d.filtered(page, typed | {"as_of": then}, "1 resource", field="as_of")
    late = d.tab(d.page.url)
    where = at(f"{page}/selector")
    d.accepted(where, {}, "1 resource is added.", "disk d1")
    # The page was changed to a time in which there was no such label.
    late.locator(f'{where} [name="as_of"]').evaluate("one => { one.value = '2020-01-01T00:00:00Z' }")
    d.stale(late, where, "disk")


@form("/incidents/{number}/people/selector", f"{NAMED}: as_of", template=NAMED)
def people_are_added_as_of_a_time(d):
    d.account("left")
    d.call("PUT", "/accounts/left/members/grace", {"role": "owner"})
    then = now()
    d.call("DELETE", "/accounts/left/members/grace")
    n = d.number("Members of then", [])
    page = f"/admin/incidents/{n}/named"
    where = at(f"/admin/incidents/{n}/people/selector")
    typed = {"accounts": "left", "roles": "owner"}
    d.filtered(page, typed | {"as_of": "last week"}, TIME, field="as_of")
    d.filtered(page, typed | {"as_of": "2026-04-20"}, TIME, field="as_of")
    d.filtered(page, typed | {"as_of": then}, "1 person", field="as_of")
    late = d.tab(d.page.url)
    d.accepted(where, {}, "1 person is added.", "Grace")
    late.locator(f'{where} [name="as_of"]').evaluate("one => { one.value = 'then' }")
    d.stale(late, where, TIME)
