// Brings a page up to date while it is open. Without it everything can be read, and loaded again.
"use strict";
(() => {
  const two = [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]];
  const duration = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    for (const [size, unit, below, part] of two) {
      if (whole >= size) {
        const rest = Math.floor((whole % size) / below);
        return Math.floor(whole / size) + unit + (rest ? " " + rest + part : "");
      }
    }
    return whole + "s";
  };
  let ahead = 0; // seconds by which this clock is before the server's
  const since = (time) => Date.now() / 1000 - ahead - Date.parse(time) / 1000;

  const tick = () => {
    for (const each of document.querySelectorAll("time[data-ago]")) {
      const text = duration(since(each.dateTime));
      if (each.textContent !== text) each.textContent = text;
    }
    for (const each of document.querySelectorAll("progress[data-since][max]")) {
      each.value = Math.min(each.max, since(each.dataset.since));
    }
  };

  const badge = (word, kind) => {
    const place = document.getElementById("live");
    if (!place || place.dataset.kind === kind) return;
    place.dataset.kind = kind;
    place.textContent = word;
  };

  // One new element in place of the old one; what has the focus keeps it.
  const put = (id, html) => {
    const old = document.getElementById(id);
    if (!old) return;
    const held = old.contains(document.activeElement)
      ? [...old.querySelectorAll("a, button, input")].indexOf(document.activeElement) : -1;
    const made = document.createElement("template");
    made.innerHTML = html;
    const fresh = made.content.firstElementChild;
    fresh.classList.add("fresh");
    old.replaceWith(fresh);
    if (held >= 0) {
      const now = [...fresh.querySelectorAll("a, button, input")][held];
      if (now) now.focus();
    }
  };

  let due = false;
  const again = () => { // the whole page, once for many reasons
    if (due) return;
    due = true;
    setTimeout(async () => {
      due = false;
      const answer = await fetch(location.href, { redirect: "manual" });
      if (!answer.ok) return;
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = document.getElementById("main"), fresh = found.getElementById("main");
      if (!fresh || main.contains(document.activeElement) && document.activeElement !== main) return;
      main.innerHTML = fresh.innerHTML;
      badge("live", "on");
      tick();
    }, 300 + 1200 * Math.random());
  };

  let full = false;
  const later = () => { // more has changed than is sent: a large fleet's page is costly to make
    if (full) return;
    full = true;
    setTimeout(() => { full = false; again(); }, 15000 + 15000 * Math.random());
  };

  const hear = (told) => {
    if (told.now) ahead = Date.now() / 1000 - told.now;
    if (told.ended) { stream.close(); location.assign("/signin"); return; }
    if ("away" in told) document.getElementById("away").hidden = !told.away;
    const watched = document.getElementById("main").dataset.watch;
    for (const [id, html] of Object.entries(told.parts || {})) {
      if (id === "counts" && !document.querySelector("[data-counts]")) continue;
      if (id === watched) again(); else put(id, html);
    }
    if (told.more) later();
    tick();
  };

  const place = document.body.dataset.live;
  let stream = null;
  if (place) {
    stream = new EventSource(place);
    stream.onopen = () => badge("live", "on");
    stream.onmessage = (event) => hear(JSON.parse(event.data));
    stream.onerror = () => badge(stream.readyState === 2 ? "not live" : "connecting", "off" + stream.readyState);
  }
  setInterval(tick, 1000);
})();
