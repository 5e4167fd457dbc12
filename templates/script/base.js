// What makes the pages live. Every page works without it.
"use strict";
(() => {
  // The key of a field focuses it, unless somebody is typing.
  const typing = (at) => at && (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(document.activeElement)) return;
    const field = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key);
    if (!field) return;
    event.preventDefault();
    field.focus();
    if (field.select) field.select();
  });

  // A menu closes when somebody clicks beside it or presses Escape.
  const menus = () => document.querySelectorAll("details.who[open], details.more[open]");
  document.addEventListener("click", (event) => {
    for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of menus()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // A form is sent once, also if its button is pressed twice.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    // A field can have the name of a property of the form, so the attributes are read.
    if (form.getAttribute("method") !== "post" || form.getAttribute("target") || event.submitter?.getAttribute("formtarget")) return;
    // The page stays after a download, so the form can be sent again.
    if ("downloads" in form.dataset) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const from = document.getElementById(button.dataset.copy);
    if (!from || !navigator.clipboard) return;
    await navigator.clipboard.writeText(from.value ?? from.textContent);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });

  // Relative times and countdowns.
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const length = (seconds) => {
    for (const [size, unit] of units) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
    return `${Math.floor(seconds)} s`;
  };
  const skew = (() => {
    const now = document.querySelector("footer time");
    return now ? Date.parse(now.dateTime) - Date.now() : 0;
  })();
  const now = () => Date.now() + skew;
  const tick = () => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      if (time.closest("[data-until]")) continue;
      const seconds = (now() - Date.parse(time.dateTime)) / 1000;
      const text = Math.abs(seconds) < 5 ? "just now" : seconds < 0 ? `in ${length(-seconds)}` : `${length(seconds)} ago`;
      if (time.firstChild.data !== text) time.firstChild.data = text;
    }
    for (const element of document.querySelectorAll("[data-until]")) {
      const left = Math.ceil((Date.parse(element.dataset.until) - now()) / 1000);
      const two = (number) => String(number).padStart(2, "0");
      const hours = Math.floor(left / 3600), minutes = Math.floor(left / 60) % 60;
      const clock = hours > 0 ? `${hours}:${two(minutes)}` : String(minutes);
      // The element for the time has the exact time on hover.
      const shown = element.querySelector("time") ?? element;
      const text = left > 0 ? `in ${clock}:${two(left % 60)}` : "now";
      if (shown.textContent !== text) shown.textContent = text;
    }
  };
  tick();
  setInterval(tick, 1000);

  // Live parts: each element with `data-live` is replaced by the same element of a fresh copy of the page.
  const every = Number(document.body.dataset.every) * 1000;
  if (!every) return;
  const changed = (part) =>
    part.contains(document.activeElement) ||
    [...part.querySelectorAll("details[open]:not([data-open]), dialog[open]")].length > 0 ||
    [...part.querySelectorAll("input, textarea, select")].some((field) =>
      field.type === "hidden" ? false
        : field.tagName === "SELECT" ? [...field.options].some((option) => option.selected !== option.defaultSelected)
        : field.type === "checkbox" || field.type === "radio" ? field.checked !== field.defaultChecked
        : field.value !== field.defaultValue);
  let failures = 0, signedOut = false;
  // Says since when the page is old. After one failure it is too early: the next try may succeed.
  const sayOld = () => {
    const place = document.getElementById("not-updated");
    if (!place || failures < 2) return place?.replaceChildren();
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = signedOut ? "Sign in again" : "Refresh";
    const since = document.querySelector("footer time")?.textContent ?? "";
    place.replaceChildren(signedOut ? `You were signed out. Not updated since ${since}. ` : `Not updated since ${since}. `, link);
  };
  const fresh = async (address) => {
    const response = await fetch(address, { headers: { "x-candor-live": "1" }, redirect: "manual", cache: "no-store" });
    // The answer is a redirect to the sign-in if the session has ended.
    signedOut = response.type === "opaqueredirect";
    if (!response.ok) throw new Error(String(response.status));
    return new DOMParser().parseFromString(await response.text(), "text/html");
  };
  const refresh = async () => {
    const parts = [...document.querySelectorAll("[data-live][id]")];
    const copies = new Map();
    for (const part of parts) {
      const address = part.dataset.live || location.href.split("#")[0];
      if (!copies.has(address)) copies.set(address, await fresh(address));
      const copy = copies.get(address).getElementById(part.id);
      if (!copy) {
        if (!changed(part)) part.replaceChildren();
        continue;
      }
      if (copy.innerHTML === part.dataset.was || changed(part)) continue;
      part.replaceChildren(...copy.cloneNode(true).childNodes);
      part.dataset.was = copy.innerHTML;
    }
    const page = copies.get(location.href.split("#")[0]);
    if (page) {
      document.title = page.title;
      const at = document.querySelector("footer time"), then = page.querySelector("footer time");
      if (at && then) { at.dateTime = then.dateTime; at.textContent = then.textContent; }
      document.body.dataset.every = page.body.dataset.every || "";
    }
    tick();
  };
  const again = async () => {
    let wait = Number(document.body.dataset.every) * 1000;
    if (!document.hidden) {
      try {
        await refresh();
        failures = 0;
      } catch {
        failures += 1;
        wait = Math.max(wait, failures < 2 ? 3000 : 10000);
      }
      sayOld();
      wait = Math.max(wait, Number(document.body.dataset.every) * 1000);
    }
    if (wait) setTimeout(again, wait);
  };
  setTimeout(again, every);
})();
