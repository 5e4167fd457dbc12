// Counts what a filter finds while somebody types. Without it, the button does so.
"use strict";
(() => {
  for (const form of document.querySelectorAll("form[data-count]")) {
    let timer = 0, asked = 0;
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const number = ++asked;
        const query = new URLSearchParams(new FormData(form));
        try {
          const response = await fetch(`${form.getAttribute("action")}?${query}`, { headers: { "x-candor-live": "1" }, redirect: "manual", cache: "no-store" });
          const copy = new DOMParser().parseFromString(await response.text(), "text/html");
          // A later answer may have arrived before this one.
          if (number !== asked) return;
          for (const id of form.dataset.count.split(" ")) {
            const from = copy.getElementById(id), to = document.getElementById(id);
            if (from && to) to.replaceChildren(...from.childNodes);
          }
        } catch { /* The button still works. */ }
      }, 300);
    });
  }
})();
