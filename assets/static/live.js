// Pages show by themselves what is so now: the parts that are marked with data-live are fetched again, now and then, and
// put in the place of the old ones. Without this script a page is as whole, and is loaded again by hand.
"use strict";
(() => {
  const every = 5000; // milliseconds
  const parts = (page) => new Map([...page.querySelectorAll("[data-live]")].map((part) => [part.dataset.live, part]));

  // busy tells whether somebody works in a part: then it is left alone.
  const busy = (part) => {
    const at = document.activeElement;
    if (part.contains(at) && at.matches("input, select, textarea, button")) return true;
    const marked = getSelection();
    return Boolean(marked && !marked.isCollapsed && marked.containsNode(part, true));
  };

  const put = (old, next) => {
    if (busy(old) || old.isEqualNode(next)) return;
    const at = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    for (const opened of old.querySelectorAll("details[open][id]")) {
      next.querySelector("#" + CSS.escape(opened.id))?.setAttribute("open", "");
    }
    old.replaceWith(next);
    if (at !== null) next.querySelector(`a[href="${CSS.escape(at)}"]`)?.focus({preventScroll: true});
  };

  const renew = async () => {
    if (document.hidden) return;
    let text;
    try {
      const answer = await fetch(location.href, {headers: {"X-Live": "1"}, redirect: "error", cache: "no-store"});
      if (!answer.ok) return;
      text = await answer.text();
    } catch {
      return; // the next time, perhaps
    }
    const here = parts(document);
    const there = parts(new DOMParser().parseFromString(text, "text/html"));
    if ([...here.keys()].join() !== [...there.keys()].join()) { // something is there, or gone, that has another page
      if (![...here.values()].some(busy) && !document.activeElement.matches("input")) location.reload();
      return;
    }
    for (const [name, old] of here) put(old, there.get(name));
  };

  let waits = false;
  const again = async () => {
    if (waits) return;
    waits = true;
    await renew();
    waits = false;
  };
  setInterval(again, every);
  document.addEventListener("visibilitychange", again);
})();
