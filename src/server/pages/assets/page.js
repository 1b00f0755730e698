// What makes the pages quicker to use. Each of them works without it.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const root = document.documentElement.dataset.root;
const made = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

/* Times: "5 minutes ago", and the exact one in the title. */
const units = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });
// The clock of the server counts, wherever the browser's stands.
const ahead = Date.now() - Date.parse(document.documentElement.dataset.now);
function tellTimes(within = document) {
  for (const time of $$("time[datetime]", within)) {
    const seconds = (Date.now() - ahead - Date.parse(time.dateTime)) / 1000;
    const [unit, length] = units.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
    if (time.dataset.ago !== undefined) {
      time.textContent = Math.abs(seconds) < 10 ? "just now" : relative.format(-Math.trunc(seconds / length), unit);
    }
  }
}
setInterval(tellTimes, 15000);

/* The scheme, without a reload that would lose what is being typed. */
$(".theme")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const theme = event.submitter.value;
  document.documentElement.dataset.theme = theme;
  for (const button of $$(".theme button")) button.setAttribute("aria-pressed", button.value === theme);
  const body = new URLSearchParams(new FormData(event.target, event.submitter));
  fetch(event.target.action, { method: "POST", body, redirect: "manual" });
});

/* What was wrong comes first. */
$("[data-focus]")?.focus();

/* Keys, which can be switched off. */
const keysAreOn = () => localStorage.getItem("keys") !== "off";
const help = $("#keys");
if (help) {
  const choice = $("input", help);
  choice.checked = keysAreOn();
  choice.addEventListener("change", () => localStorage.setItem("keys", choice.checked ? "on" : "off"));
  for (const opener of $$("[data-keys]")) {
    opener.hidden = false;
    opener.addEventListener("click", () => help.showModal());
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (!keysAreOn() || typing || help.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const search = $("[data-search]");
    if (event.key === "?") help.showModal();
    else if (event.key === "/" && search) search.focus(), search.select();
    else return;
    event.preventDefault();
  });
}

/* Copying, also over plain HTTP, where the clipboard is not to be had. */
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const from = button.dataset.from && $(button.dataset.from);
  const text = button.dataset.copy || from.href || from.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = made("textarea", { class: "out-of-sight" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
});

/* Forms: what was typed is not lost by accident, and one press sends once. */
let touched = false;
for (const form of $$("form[data-edit]")) {
  form.addEventListener("input", () => (touched = true));
  form.addEventListener("submit", () => (touched = false));
}
addEventListener("beforeunload", (event) => touched && event.preventDefault());
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, 4000);
});
for (const input of $$("[data-name]:is(input)")) {
  const button = $("button.danger", input.form);
  const look = () => (button.disabled = input.value !== input.dataset.name);
  input.addEventListener("input", look);
  look();
}
for (const select of $$("select[data-submit]")) select.addEventListener("change", () => select.form.requestSubmit());

/* A file into a text. */
for (const input of $$("input[data-into]")) {
  input.closest("[data-file]").hidden = false;
  input.addEventListener("change", async () => {
    if (input.files[0]) $("#" + input.dataset.into).value = await input.files[0].text();
  });
}

/* Picking rows. */
for (const all of $$("[data-pick-all]")) {
  const boxes = () => $$("tbody input[type=checkbox]", all.closest("table"));
  const tell = () => {
    const picked = boxes().filter((box) => box.checked).length;
    all.checked = picked > 0 && picked === boxes().length;
    all.indeterminate = picked > 0 && !all.checked;
    const told = $("[data-picked]");
    if (told) told.textContent = picked === 0 ? "None picked" : `${picked} picked`;
  };
  all.hidden = false;
  all.addEventListener("change", () => (boxes().forEach((box) => (box.checked = all.checked)), tell()));
  all.closest("table").addEventListener("change", tell);
  tell();
}

/* A check, step by step as it runs. */
const icon = (name) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
};
const step = ({ step, verdict, message, hint }) => {
  const label = { ok: "Good: ", warning: "Unusual: ", failed: "Failed: " }[verdict] ?? "";
  const text = made("span", {}, made("span", { class: "out-of-sight" }, label), message);
  if (hint) text.append(made("small", {}, hint));
  return made("li", { class: verdict }, icon(verdict), made("b", {}, step), text);
};
async function check(path, asked, tell) {
  const answer = await fetch(root + path, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify(asked),
  });
  if (!answer.ok) {
    const { detail, hint } = await answer.json();
    tell({ step: "asked", verdict: "failed", message: detail, hint });
    return false;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return false;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name === "check") tell(JSON.parse(data));
      if (name === "verdict") return JSON.parse(data).ok;
      if (name === "end") return tell({ step: "end", verdict: "failed", message: "The daemon stops." }), false;
    }
  }
}
for (const button of $$("button[data-check]")) {
  button.addEventListener("click", async (event) => {
    const form = button.form;
    const saves = button.dataset.check === "save";
    const field = (name) => form.elements[name]?.value.trim() ?? "";
    const kept = form.dataset.config && !form.elements.api_secret?.value;
    const moved = kept && ["url", "api_key"].some((name) => form.elements[name] && field(name) !== form.elements[name].defaultValue);
    // Whatever the server must say of the form itself, it says.
    if (moved || (!form.dataset.config && !form.elements.api_secret?.value)) return;
    event.preventDefault();
    const box = $("#check");
    const list = $("ol", box);
    const verdict = $("[role=status]", box);
    list.replaceChildren();
    box.hidden = false;
    box.scrollIntoView({ block: "nearest" });
    verdict.textContent = "Checking…";
    button.disabled = true;
    const tell = (finding) => list.append(step(finding));
    const asked = { url: field("url"), api_key: field("api_key"), api_secret: form.elements.api_secret?.value };
    if (field("trunk_id")) asked.trunk_id = field("trunk_id");
    let good = false;
    try {
      good = await (kept ? check(`v1/configs/${form.dataset.config}/check`, {}, tell) : check("v1/checks", asked, tell));
    } catch {
      tell({ step: "asked", verdict: "failed", message: "The daemon did not answer." });
    }
    button.disabled = false;
    verdict.textContent = good ? "Calls would go out." : "Calls would fail. Mend it, or save it on purpose.";
    if (saves && good) {
      verdict.textContent = "Calls would go out. Saving…";
      form.append(made("input", { type: "hidden", name: "do", value: "save" }));
      form.requestSubmit();
    }
  });
}

/* Changes, as they happen: one stream a tab, closed while nobody looks. */
const live = $(".live");
let stream, last, changes = 0, retry = 1000;
const state = (word, text) => {
  live.dataset.state = word;
  live.textContent = text;
};
async function refresh(parts = "[data-part]") {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of $$(parts)) {
    const fresh = page.getElementById(part.id);
    if (!fresh || part.contains(document.activeElement) || $("input:checked, details[open]", part)) continue;
    const before = new Map($$("tr[id]", part).map((row) => [row.id, row.textContent]));
    part.replaceWith(document.importNode(fresh, true));
    const rows = before.size ? $$("tr[id]", document.getElementById(fresh.id)) : [];
    for (const row of rows) if (before.get(row.id) !== row.textContent) row.classList.add("moved");
  }
  tellTimes();
}
let due;
function changed() {
  changes += 1;
  // What tells how far something is follows it, once a second at the most.
  if ($("[data-live]")) due ??= setTimeout(() => ((due = undefined), refresh("[data-live]").catch(() => {})), 1000);
  const news = $(".news");
  if (!news) return;
  $("button", news).textContent = changes === 1 ? "1 change, show" : `${changes} changes, show`;
  news.hidden = false;
}
const isPaused = () => localStorage.getItem("live") === "off";
function listen() {
  if (stream || document.hidden || !live || isPaused()) return;
  stream = new EventSource(root + "v1/changes/events");
  stream.addEventListener("ready", () => {
    retry = 1000;
    if (last === "lost") changed();
    last = "live";
    state("live", "Live");
  });
  stream.addEventListener("change", (event) => {
    const { entity } = JSON.parse(event.data);
    const wanted = live.dataset.of.split(" ");
    if (wanted.includes(entity) || wanted.includes("any") || ["all", "numbers"].includes(entity)) changed();
  });
  stream.addEventListener("gap", changed);
  for (const name of ["end", "dropped"]) stream.addEventListener(name, lost);
  stream.onerror = lost;
}
function lost() {
  stream?.close();
  stream = undefined;
  last = "lost";
  if (document.hidden || isPaused()) return;
  state("lost", "Disconnected, trying again");
  retry = Math.min(retry * 2, 30000);
  setTimeout(listen, retry);
}
document.addEventListener("visibilitychange", () => {
  if (!live) return;
  if (!document.hidden) return listen();
  stream?.close();
  stream = undefined;
  if (last === "live") last = "lost";
  state("paused", "Paused");
});
$(".news button")?.addEventListener("click", async () => {
  changes = 0;
  $(".news").hidden = true;
  await refresh();
});
const pause = $("[data-pause]");
if (pause && live) {
  const tell = () => {
    pause.textContent = isPaused() ? "Go live" : "Pause";
    if (isPaused()) state("paused", "Paused");
  };
  pause.hidden = false;
  pause.addEventListener("click", () => {
    localStorage.setItem("live", isPaused() ? "on" : "off");
    stream?.close();
    stream = undefined;
    if (!isPaused() && last) changed();
    tell();
    listen();
  });
  tell();
}
addEventListener("pagehide", () => stream?.close());
listen();
if ($("[data-every]")) setInterval(() => document.hidden || isPaused() || refresh().catch(() => {}), Number($("[data-every]").dataset.every) * 1000);
tellTimes();
