// The playground: a conversation with a model through the API, as a program would have it. The key
// is fetched by a POST when it is needed, kept in this module's memory and nowhere else.

const DRAFT = "playground";
const ENDPOINT = "/api/v1/chat/completions";
const SOON_MS = 60_000;

const find = (id) => document.getElementById(id);
const form = find("playground");
const dollars = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", maximumFractionDigits: 9 });
const number = new Intl.NumberFormat("en-US");

let turns = [];
let key = null;
let running = null; // the AbortController of the request that runs

class Failure extends Error {
  constructor(message, { status = 0, request = "" } = {}) {
    super(message);
    this.status = status;
    this.request = request;
  }
}

// What the fields say, and what was said before.
function request(message = find("message").value.trim()) {
  const asked = turns.map(({ role, content }) => ({ role, content }));
  if (message) asked.push({ role: "user", content: message });
  const system = find("system").value.trim();
  const body = { model: find("model").value, messages: [...(system ? [{ role: "system", content: system }] : []), ...asked] };
  if (find("temperature").value) body.temperature = find("temperature").valueAsNumber;
  if (find("max-tokens").value) body.max_tokens = find("max-tokens").valueAsNumber;
  return { ...body, stream: true, stream_options: { include_usage: true } };
}

async function freshKey() {
  if (key && key.until - Date.now() > SOON_MS) return key.text;
  const answer = await fetch("/playground/key", {
    method: "POST",
    headers: { "X-CSRF-Token": form.elements._csrf.value },
    signal: running?.signal,
  });
  if (answer.redirected || answer.status === 403) throw new Failure("You are logged out. Log in again: your draft is kept.", { status: 401 });
  if (!answer.ok) throw new Failure("No key could be made at the moment. Try again soon.", { status: answer.status, request: answer.headers.get("x-request-id") });
  const made = await answer.json();
  key = { text: made.key, until: Date.parse(made.expires_at) };
  return key.text;
}

async function ask(body, again = true) {
  const answer = await fetch(ENDPOINT, {
    method: "POST",
    headers: { Authorization: `Bearer ${await freshKey()}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: running.signal,
  });
  if (answer.status === 401 && again) {
    key = null; // revoked in the list of keys, or by a log-out in another tab
    return ask(body, false);
  }
  if (!answer.ok) throw refusal((await answer.json().catch(() => ({}))).error, answer);
  return answer;
}

function refusal(error, answer) {
  const message = error?.message ?? `The gateway answered ${answer.status}.`;
  return new Failure(message, { status: error?.code ?? answer.status, request: answer.headers.get("x-request-id") ?? "" });
}

// The data of each event of a stream, parsed, up to the end of it.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Failure("The stream ended too early.", { request: answer.headers.get("x-request-id") });
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

async function answered(body, turn, shown) {
  const answer = await ask(body);
  turn.request = answer.headers.get("x-request-id") ?? "";
  let usage = null;
  for await (const event of events(answer)) {
    if (event.error) throw refusal(event.error, answer);
    const delta = event.choices?.[0]?.delta ?? {};
    if (delta.reasoning_content) say("Thinking…");
    if (delta.content) {
      say("Answering…");
      turn.content += delta.content;
      shown.append(delta.content);
    }
    usage = event.usage ?? usage;
  }
  return usage;
}

async function send() {
  if (running || !form.reportValidity()) return;
  const message = find("message").value.trim();
  if (!message) return find("message").focus();
  const body = request(message);
  const turn = { role: "assistant", model: body.model, content: "", request: "" };
  const asked = { role: "user", content: message };
  const items = [show(asked), show(turn)];
  const began = performance.now();
  find("message").value = "";
  begin();
  try {
    const usage = await answered(body, turn, items[1].querySelector("p"));
    say(told(usage, performance.now() - began), turn.request);
    keep();
  } catch (failure) {
    if (turn.content) keep();
    else takeBack();
    if (failure.name === "AbortError") say("Stopped. What was answered until then is billed.", turn.request);
    else complain(failure);
  } finally {
    end();
  }

  function keep() {
    turns.push(asked, turn);
  }

  // Nothing was answered: the message waits in its field to be sent again.
  function takeBack() {
    items.forEach((item) => item.remove());
    find("message").value ||= message;
  }
}

function told(usage, took) {
  const seconds = `${(took / 1000).toFixed(1)} s`;
  if (!usage) return `Done in ${seconds}.`;
  const tokens = `${number.format(usage.prompt_tokens)} tokens in, ${number.format(usage.completion_tokens)} out`;
  return `${tokens}, ${dollars.format(usage.cost)}, ${seconds}.`;
}

function begin() {
  running = new AbortController();
  find("trouble").replaceChildren();
  say("Sending…");
  mark();
}

function end() {
  running = null;
  mark();
  save();
  find("message").focus();
}

function mark() {
  find("stop").hidden = !running;
  for (const id of ["send", "clear"]) find(id).disabled = Boolean(running);
  form.setAttribute("aria-busy", String(Boolean(running)));
}

function show({ role, model, content }) {
  const item = document.createElement("li");
  const heading = document.createElement("h2");
  const text = document.createElement("p");
  item.className = `turn ${role}`;
  heading.textContent = role === "user" ? "You" : model;
  text.textContent = content;
  item.append(heading, text);
  find("turns").append(item);
  item.scrollIntoView({ block: "nearest" });
  return item;
}

function say(text, id = "") {
  const costs = find("costs");
  if (costs.textContent === text) return;
  costs.replaceChildren(text, ...(id ? [" ", link(`/activity/${encodeURIComponent(id)}`, "See its bill")] : []));
}

function link(address, text) {
  const made = document.createElement("a");
  made.href = address;
  made.textContent = text;
  return made;
}

function complain(failure) {
  const box = document.createElement("p");
  const text = document.createElement("span");
  box.className = "flash bad";
  const unreachable = failure instanceof TypeError; // what fetch throws without a connection
  text.append(unreachable ? "The gateway cannot be reached. Try again soon." : failure.message);
  if (failure.status === 402) text.append(" ", link("/billing", "Top up your balance"), "; your draft is kept.");
  if (failure.status === 401) text.append(" ", link("/login?next=/playground", "Log in"));
  if (failure.request) text.append(` Request ${failure.request}.`);
  box.append(text);
  find("trouble").replaceChildren(box);
  say("");
}

// The draft is kept for this tab, so that nothing is lost on the way to the billing page and back.
const FIELDS = ["model", "system", "temperature", "max-tokens", "message"];

function save() {
  const fields = Object.fromEntries(FIELDS.map((id) => [id, find(id).value]));
  try {
    sessionStorage.setItem(DRAFT, JSON.stringify({ fields, turns }));
  } catch {
    // Too long to be kept, or not allowed: it holds for this page only.
  }
}

function restore() {
  let draft = null;
  try {
    draft = JSON.parse(sessionStorage.getItem(DRAFT));
  } catch {
    return;
  }
  for (const id of FIELDS) {
    const usual = find(id).value;
    find(id).value = draft?.fields?.[id] ?? usual;
    if (id === "model" && !find(id).value) find(id).value = usual; // it is not offered any more
  }
  turns = draft?.turns ?? [];
  turns.forEach(show);
}

// The request as a curl command and as a Python program. Both run as they are.
function code() {
  const body = request();
  if (!body.messages.length) body.messages = [{ role: "user", content: "Hello!" }];
  const address = `${form.dataset.address}/api/v1`;
  find("as-curl").textContent = asCurl(address, body);
  find("as-python").textContent = asPython(address, body);
}

const indented = (text, spaces) => text.replaceAll("\n", `\n${" ".repeat(spaces)}`);

function asCurl(address, body) {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return `curl -N ${address}/chat/completions \\
  -H "Authorization: Bearer $EZ_KEY" \\
  -H "Content-Type: application/json" \\
  -d '${indented(json, 2)}'`;
}

// JSON's strings are Python's; true is not.
function python(value) {
  if (value === true) return "True";
  if (Array.isArray(value)) return `[\n${value.map((item) => `    ${indented(python(item), 4)},\n`).join("")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${python(item)}`).join(", ")}}`;
}

function asPython(address, body) {
  const lines = Object.entries(body).map(([name, value]) => `    ${name}=${indented(python(value), 4)},\n`);
  return `import os

from openai import OpenAI

client = OpenAI(base_url="${address}", api_key=os.environ["EZ_KEY"])
stream = client.chat.completions.create(
${lines.join("")})
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    if chunk.usage:
        print(f"\\n\${chunk.usage.cost:.9f}")`;
}

if (form) {
  form.hidden = false;
  restore();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  form.addEventListener("input", save);
  find("view-code").addEventListener("click", code);
  find("stop").addEventListener("click", () => running?.abort());
  find("clear").addEventListener("click", () => {
    turns = [];
    find("turns").replaceChildren();
    find("trouble").replaceChildren();
    say("");
    save();
    find("message").focus();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !find("code").open) running?.abort();
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !form.contains(event.target)) return;
    event.preventDefault();
    send();
  });
}
