// Live numbers by one stream of events. It is closed while nobody can see the page, and a stream that
// broke says so: a number never stands still in silence.

const STATES = { live: ["good", "Live"], paused: ["note", "Paused"], lost: ["bad", "Reconnecting…"], stale: ["bad", "Reconnecting to the database…"] };
const KEPT = 50;
const SAY_MS = 10_000; // aria-live
const FRESH_MS = 4_000;
const RETRY_MS = 3_000;

const state = document.querySelector("[data-live-state]");
const pause = document.querySelector("[data-live-pause]");
const said = document.querySelector("[data-live-said]");
const feed = document.querySelector("[data-live-feed]");
let source = null;
let retry = null;
let paused = false;
let saidAt = 0;
let latest = {};

function show(name) {
  document.documentElement.dataset.stream = name;
  if (!state) return;
  const [kind, text] = STATES[name];
  state.className = `badge ${kind}`;
  state.textContent = text;
}

function open() {
  clearTimeout(retry);
  if (source || paused || document.hidden) return;
  source = new EventSource("/live/events");
  source.addEventListener("live", (event) => update(JSON.parse(event.data)));
  source.addEventListener("over", () => location.reload());
  source.addEventListener("error", () => {
    show("lost");
    if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    close();
    retry = setTimeout(open, RETRY_MS);
  });
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function update({ connected, numbers, said: sentence, finished }) {
  show(connected ? "live" : "stale");
  latest = numbers;
  fill();
  if (said && Date.now() - saidAt >= SAY_MS) {
    saidAt = Date.now();
    said.textContent = sentence;
  }
  if (finished.length) {
    list(finished);
    freshen();
  }
}

function fill() {
  for (const element of document.querySelectorAll("[data-live]")) {
    const text = latest[element.dataset.live];
    if (text !== undefined && element.textContent !== text) element.textContent = text;
  }
}

function list(finished) {
  if (!feed) return;
  const body = feed.tBodies[0];
  document.querySelector("[data-live-empty]").hidden = true;
  for (const request of [...finished].reverse()) {
    if (body.querySelector(`[data-id="${CSS.escape(request.id)}"]`)) continue;
    const row = body.insertRow(0);
    row.dataset.id = request.id;
    const labels = [...feed.tHead.rows[0].cells].map((cell) => cell.textContent);
    const texts = [request.time, request.model, request.key, request.tokens, request.cost, request.first, request.duration, ""];
    texts.forEach((text, column) => {
      const cell = row.insertCell();
      cell.dataset.label = labels[column];
      cell.className = feed.tHead.rows[0].cells[column].className;
      cell.textContent = text;
    });
    if (feed.dataset.links) {
      const link = document.createElement("a");
      link.href = feed.dataset.links + encodeURIComponent(request.id);
      link.textContent = request.time;
      row.cells[0].replaceChildren(link);
    }
    const badge = document.createElement("span");
    badge.className = `badge ${request.bad ? "bad" : "good"}`;
    badge.textContent = `${request.outcome} ${request.status}`;
    row.lastElementChild.append(badge);
  }
  while (body.rows.length > KEPT) body.deleteRow(-1);
}

// Parts of a page that requests change, [data-fresh] with an id, are fetched anew when some ended.
let freshAt = 0;
let waiting = null;
function freshen() {
  if (waiting || !document.querySelector("[data-fresh]")) return;
  waiting = setTimeout(async () => {
    freshAt = Date.now();
    waiting = null;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-fresh]")) {
      const anew = page.getElementById(part.id);
      if (anew && !part.contains(document.activeElement)) part.replaceWith(anew);
    }
    fill();
  }, Math.max(0, freshAt + FRESH_MS - Date.now()));
}

if (pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) {
      close();
      show("paused");
    } else {
      open();
    }
  });
}
document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
addEventListener("pagehide", close);
addEventListener("pageshow", open);
open();
