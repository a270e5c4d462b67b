// The live page: facts come over one event stream, content is refetched and put in place.
// Values change where they stand; rows enter, leave and move only while nobody reads the list.
"use strict";
(() => {
  const body = document.body, base = body.dataset.base;
  const $ = (id) => document.getElementById(id);
  const pill = $("pill"), pillText = pill.querySelector(".text"), pauseButton = $("pause");
  const FIRST = 30, COLLECT = 250, STORM = 2000, BEAT_LATE = 15000, READING = 10000, POINTER = 600;
  const fill = (text, slots) => text.replace(/\{(\w+)\}/g, (_, name) => slots[name] ?? "");
  const store = { get: (k) => { try { return localStorage.getItem(k); } catch { return null; } },
    set: (k, v) => { try { localStorage.setItem(k, v); } catch { /* private mode: not kept */ } } };

  // Times: ages count on, clock times are local, and when the stream is stale ages stop lying.
  const clock = (ms) => new Date(ms).toLocaleTimeString(document.documentElement.lang, { hour12: false });
  const span = (s) => s < 60 ? fill(body.dataset.ageS, { n: s })
    : s < 3600 ? fill(body.dataset.ageM, { n: Math.floor(s / 60) })
    : s % 3600 < 60 ? fill(body.dataset.ageHours, { n: Math.floor(s / 3600) })
    : fill(body.dataset.ageH, { h: Math.floor(s / 3600), m: String(Math.floor(s / 60) % 60).padStart(2, "0") });
  let skew = 0; // the server's clock less ours, in ms
  const now = () => Date.now() + skew;
  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  function times(root) {
    for (const t of root.querySelectorAll("time[datetime]")) {
      const at = Date.parse(t.dateTime), s = Math.max(0, Math.floor((now() - at) / 1000));
      if (t.hasAttribute("data-clock")) set(t, clock(at));
      else if (s >= 86400) set(t, new Date(at).toLocaleDateString("sv-SE"));
      else set(t, stale ? clock(at) : span(s));
    }
  }

  // State
  let source = null, lastId = $("main").dataset.position, lastBeat = 0, behind = 0, stale = false, lostAt = 0;
  let paused = store.get("bw.paused") === "1", waiting = new Set(), dirty = false, busy = false, timer = 0, retry = 0;
  let signedOut = false, engagedAt = 0, pointerAt = 0, notice = "", recent = [], announcedAt = 0, alarmedAt = 0, unsaid = 0;
  let held = false; // something fetched could not be placed yet

  // Placing what was fetched
  function morph(a, b, frozen) {
    if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName) { a.replaceWith(b); return; }
    if (a.nodeType !== 1) {
      if (a.data !== b.data) { a.data = b.data; mark(a.parentElement); }
      return;
    }
    if (a.hasAttribute("data-keep")) return;
    for (const { name } of [...a.attributes]) {
      if (name !== "open" && !(frozen && name === "hidden") && !b.hasAttribute(name)) a.removeAttribute(name);
    }
    for (const { name, value } of b.attributes) {
      if (frozen && name === "hidden") continue;
      if (a.getAttribute(name) !== value) a.setAttribute(name, value);
    }
    if (a.nodeName === "TIME") return; // its text is counted here
    if (a.hasAttribute("data-rows")) { rows(a, b, frozen); return; }
    const from = [...a.childNodes], to = [...b.childNodes];
    for (let i = 0; i < to.length; i++) from[i] ? morph(from[i], to[i], frozen) : a.append(to[i]);
    for (const extra of from.slice(to.length)) extra.remove();
  }
  function mark(element) {
    const v = element?.closest(".v");
    if (!v) return;
    v.classList.remove("changed");
    void v.offsetWidth;
    v.classList.add("changed");
    setTimeout(() => v.classList.remove("changed"), 5000);
  }
  let entering = [];
  function rows(a, b, frozen) {
    const list = a.hasAttribute("data-list");
    const to = [...b.children], wanted = new Map(to.map((row) => [row.id, row]));
    const had = new Set([...a.children].map((row) => row.id));
    const fresh = to.filter((row) => !had.has(row.id));
    if (list) entering = fresh.map((row) => ({ id: row.id, critical: row.classList.contains("critical"), text: row.querySelector(".title")?.textContent }));
    if (frozen) {
      for (const row of [...a.children]) {
        const next = wanted.get(row.id);
        if (next) morph(row, next, true);
        else if (!row.classList.contains("left")) {
          row.classList.add("left");
          row.querySelector(".c-state")?.setAttribute("data-gone", a.dataset.gone ?? "");
        }
      }
      return;
    }
    for (const row of [...a.children]) if (!wanted.has(row.id)) row.remove();
    let at = a.firstElementChild;
    for (const row of to) {
      const mine = had.has(row.id) ? [...a.children].find((r) => r.id === row.id) : null;
      if (mine) {
        morph(mine, row, false);
        if (mine === at) at = at.nextElementSibling; else a.insertBefore(mine, at);
      } else a.insertBefore(row, at);
    }
  }

  // Reading: a finger, eye or keyboard is in the content; then nothing may move.
  function reading() {
    const main = $("main"), focus = document.activeElement;
    return window.scrollY > 80 || (main.contains(focus) && focus !== main) || !!main.querySelector("details[open]")
      || !document.getSelection().isCollapsed || Date.now() - engagedAt < READING;
  }
  function showBar(count) {
    const button = document.querySelector("#new button");
    set(button.querySelector(".text"), fill($("new").dataset.new, { n: count }));
    button.hidden = count === 0;
  }
  let asked = false; // the reader asked for what waits
  async function refresh(force) {
    asked ||= force;
    if (busy) { dirty = true; return; }
    busy = true; dirty = false; fetchedAt = Date.now();
    clearTimeout(timer); timer = 0;
    try {
      const answer = await fetch(base + "main", { headers: { accept: "text/html" }, cache: "no-store" });
      if (answer.status === 401) { signOut(); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
      times(next);
      const hovering = Date.now() - pointerAt < POINTER;
      const frozen = !asked && (reading() || hovering);
      asked = false;
      const before = entering.length ? new Set(entering.map((e) => e.id)) : new Set();
      entering = [];
      morph($("main"), next, frozen);
      times($("main"));
      showBar(frozen ? entering.length : 0);
      say(entering.filter((e) => !before.has(e.id)));
      if (!frozen) entering = [];
      else if (hovering) later(POINTER + 100);
      held = frozen;
      title();
    } catch { later(2000); } finally {
      busy = false;
      if (dirty) later(pace());
    }
  }
  const later = (ms) => { if (!timer) timer = setTimeout(() => { timer = 0; if (!paused || asked) refresh(false); }, ms); };
  // The first change after a pause is fetched at once; then at most one fetch each COLLECT, or STORM.
  let fetchedAt = 0;
  const pace = () => {
    const t = Date.now();
    recent = recent.filter((x) => x > t - 1000);
    return Math.max(FIRST, fetchedAt + (recent.length > 50 ? STORM : COLLECT) - t);
  };
  function changed(id) {
    recent.push(Date.now());
    if (paused) { if (id) waiting.add(id); return; }
    dirty = true;
    if (!busy) later(pace());
  }
  function say(fresh) {
    unsaid += fresh.length;
    const t = Date.now(), critical = fresh.find((e) => e.critical);
    if (critical && t - alarmedAt > 30000) { alarmedAt = t; set($("assertive"), fill($("assertive").dataset.critical, { what: critical.text })); }
    if (unsaid && t - announcedAt > 10000) { announcedAt = t; set($("polite"), fill($("polite").dataset.new, { n: unsaid })); unsaid = 0; }
  }

  // Pill and title
  function title() {
    const { count, unproved } = $("main").dataset;
    const sign = stale || (unproved === "true" && count === "0") ? "?" : count === "0" ? "" : count;
    document.title = (sign ? `(${sign}) ` : "") + body.dataset.title;
  }
  function tick() {
    const t = Date.now(), d = pill.dataset, silent = lastBeat && t - lastBeat > BEAT_LATE;
    if (silent !== stale && lastBeat) { stale = !!silent; title(); }
    let state, text;
    if (signedOut) [state, text] = ["signed-out", d.signedOut];
    else if (stale) [state, text] = ["stale", fill(d.stale, { t: clock(lastBeat + skew) })];
    else if (paused) [state, text] = ["paused", fill(d.paused, { n: waiting.size })];
    else if (!lastBeat) [state, text] = ["connecting", d.connecting];
    else if (!source || source.readyState !== 1) [state, text] = ["reconnecting", fill(d.reconnecting, { t: clock(lastBeat + skew) })];
    else if (notice && t < notice.until) [state, text] = ["live", notice.text];
    else if (behind > BEAT_LATE) [state, text] = ["behind", fill(d.behind, { t: span(Math.round(behind / 1000)) })];
    else [state, text] = ["live", fill(d.live, { t: span(Math.floor((t - lastBeat) / 1000)) })];
    pill.dataset.state = state;
    set(pillText, text);
    const clockNode = $("now"), local = new Date(now());
    clockNode.dateTime = local.toISOString();
    set(clockNode, local.toLocaleTimeString(document.documentElement.lang, { hour12: false, timeZoneName: "short" }));
    times($("main"));
    if (held && !paused && !reading()) { held = false; refresh(false); }
  }
  function signOut() { signedOut = true; close(); tick(); }

  // The stream
  const close = () => { source?.close(); source = null; };
  function connect() {
    clearTimeout(retry);
    if (signedOut || document.hidden || source) return;
    source = new EventSource(`${base}live?from=${encodeURIComponent(lastId)}`);
    const on = (name, act) => source.addEventListener(name, (e) => { if (e.lastEventId) lastId = e.lastEventId; act(e); });
    on("beat", (e) => {
      const beat = JSON.parse(e.data), t = Date.now();
      if (lostAt) { notice = { until: t + 5000, text: fill(pill.dataset.caughtUp, { t: span(Math.round((t - lostAt) / 1000)) }) }; lostAt = 0; }
      skew = Math.abs(beat.at / 1000 - t) > 10000 ? beat.at / 1000 - t : 0;
      lastBeat = t; behind = beat.behind_ms; tick();
    });
    on("incident", (e) => changed(JSON.parse(e.data).id));
    on("source", () => changed());
    on("counters", () => changed());
    on("resync", () => changed("resync"));
    on("session", () => signOut());
    source.onerror = () => {
      if (!lostAt && lastBeat) lostAt = lastBeat;
      if (source?.readyState === 2) { close(); retry = setTimeout(connect, 3000 + Math.random() * 2000); refresh(false); }
    };
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close(); else { connect(); if (!paused) changed(); }
  });

  // The reader
  function pause(on) {
    const resumed = paused && !on;
    paused = on;
    store.set("bw.paused", on ? "1" : "0");
    set(pauseButton, on ? pauseButton.dataset.resume : pauseButton.dataset.pause);
    pauseButton.title = `${pauseButton.textContent} (p)`;
    pauseButton.setAttribute("aria-pressed", String(on));
    if (resumed) { waiting.clear(); refresh(false); }
    tick();
  }
  const showNew = () => { engagedAt = 0; refresh(true); };
  pauseButton.hidden = false;
  pauseButton.addEventListener("click", () => pause(!paused));
  document.addEventListener("click", (e) => {
    if (e.target.closest("#new button")) showNew();
    const to = e.target.closest("[data-theme-to]");
    if (to) {
      e.preventDefault();
      for (const v of document.querySelectorAll(".changed")) v.classList.remove("changed");
      document.documentElement.dataset.theme = to.dataset.themeTo;
      document.cookie = `theme=${to.dataset.themeTo}; path=/; max-age=31536000; samesite=lax`;
      for (const a of document.querySelectorAll("[data-theme-to]")) a === to ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current");
    }
    for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(e.target)) menu.open = false;
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") {
      for (const menu of document.querySelectorAll(".menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
      return;
    }
    if (e.ctrlKey || e.altKey || e.metaKey || e.isComposing || e.target.closest("input, textarea, select, [contenteditable]")) return;
    const key = e.key === "Process" ? e.code.replace("Key", "").toLowerCase() : e.key.toLowerCase();
    if (key === "p") pause(!paused);
    if (key === "n") showNew();
  });
  document.addEventListener("pointermove", (e) => {
    pointerAt = Date.now();
    if (e.target.closest?.("[data-list]")) engagedAt = pointerAt;
  }, { passive: true });

  pause(paused);
  title();
  connect();
  setInterval(tick, 1000);
})();
